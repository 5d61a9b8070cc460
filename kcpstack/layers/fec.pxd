cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport uint8_t, uint32_t

from kcpstack.batch cimport Batch
from kcpstack.kernels.segment cimport _get32, _put32, copied
from kcpstack.layers.fec_groups cimport Groups, distance

cdef Py_ssize_t _HEADER, _SHARD, _SIZE, _LONGEST
cdef long long _REACH
cdef int _DATA, _PARITY, _OUT_OF_BAND

cdef inline (uint32_t, int) readTyped(bytearray buffer, Py_ssize_t at) noexcept:
    cdef const uint8_t *head = <const uint8_t *>PyByteArray_AS_STRING(buffer) + at
    return _get32(head), head[4] | (head[5] << 8)

cdef inline void putSized(bytearray buffer, Py_ssize_t at, uint32_t seqid, int kind, Py_ssize_t size) noexcept:
    cdef uint8_t *head = <uint8_t *>PyByteArray_AS_STRING(buffer) + at
    _put32(head, seqid)
    head[4] = <uint8_t>kind
    head[5] = <uint8_t>(kind >> 8)
    head[6] = <uint8_t>size
    head[7] = <uint8_t>(size >> 8)

cdef class FECEncoder:
    cdef object _newCode
    cdef public object _code
    cdef Py_ssize_t _dataShards
    cdef public long long _next
    cdef public long long _modulus
    cdef public list _shards
    cdef public object _latest

    @cython.locals(start=cython.Py_ssize_t, end=cython.Py_ssize_t)
    cpdef encode(self, Batch batch, double now)
    cpdef _finishGroup(self, code, Batch batch, double now)

cdef class FECDecoder:
    cdef object _counters
    cdef object _newCode
    cdef object _newest
    cdef public list _strays
    cdef public Groups _groups
    cdef object _search
    cdef public object _held
    cdef object _since

    @cython.locals(seqid=cython.longlong, isParity=cython.bint, shard=bytes)
    cpdef tuple decode(self, Batch batch)
    @cython.locals(start=cython.Py_ssize_t, end=cython.Py_ssize_t, shard=cython.Py_ssize_t, size=cython.Py_ssize_t,
                   seqid=uint32_t, kind=cython.int, parity=cython.Py_ssize_t, buffer=bytearray, starts=list, ends=list, shards=list)
    cdef list _strip(self, Batch batch)
    @cython.locals(ahead=cython.longlong)
    cdef bint _inSequence(self, long long seqid) except -1
    cdef _take(self, long long seqid, bint isParity, bytes shard)
