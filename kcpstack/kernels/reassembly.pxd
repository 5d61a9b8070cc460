cimport cython
from libc.stdint cimport uint32_t

from kcpstack.kernels.segment cimport Packer, copied, nearest

cdef long long _MASK, _HALF

cdef class Reassembly:
    cdef public long long nxt
    cdef public object unread
    cdef public dict early
    cdef public object ackAt
    cdef readonly Py_ssize_t _window
    cdef readonly double _interval
    cdef readonly bint _ackNoDelay
    cdef readonly object _counters
    cdef public list _acks
    cdef public bint _ackNow
    cdef public long long _latest
    cdef public Py_ssize_t _repeats
    cdef public bint _repeating
    cdef public long long _repeatsOf

    @cython.locals(sn=cython.longlong, data=bytes)
    cpdef pushReceived(self, uint32_t wireSN, uint32_t ts, bytearray buffer, Py_ssize_t start, Py_ssize_t end, double now)
    cpdef deliver(self)
    @cython.locals(taken=cython.Py_ssize_t, chunk=bytes, chunks=list)
    cpdef list read(self, Py_ssize_t most)
    cpdef Py_ssize_t freeWindow(self) except -1
    @cython.locals(sn=cython.longlong)
    cpdef bint expects(self, uint32_t wireSN) except -1
    cpdef bint isLater(self, uint32_t ts) noexcept
    cpdef bint turnOver(self) except -1
    cpdef bint owesAcks(self, double now, bint withData) except -1
    @cython.locals(last=cython.Py_ssize_t, index=cython.Py_ssize_t, una=uint32_t, nxt=cython.longlong, acks=list, useful=list)
    cpdef bint putAcks(self, Packer packer, uint32_t conv, int window, Py_ssize_t most) except -1
