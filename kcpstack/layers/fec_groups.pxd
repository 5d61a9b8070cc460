cimport cython

cdef long long _HALF, _MASK
cdef Py_ssize_t _KEPT

cpdef long long distance(long long origin, long long seqid) noexcept

cdef class _Group:
    cdef public dict data
    cdef public dict parity
    cdef public bint done

    cpdef finish(self)

cdef class Groups:
    cdef object _code
    cdef object _counters
    cdef Py_ssize_t _data
    cdef Py_ssize_t _shards
    cdef long long _modulus
    cdef long long _cycle
    cdef dict _groups
    cdef object _newest
    cdef set _ready
    cdef object _since
    cdef public bint changed

    @cython.locals(number=cython.longlong, index=cython.Py_ssize_t, group=_Group)
    cpdef bint take(self, long long seqid, bint isParity, bytes shard) except -1
    @cython.locals(group=_Group, shard=bytes, size=cython.Py_ssize_t)
    cpdef rebuild(self)
    cdef long long _age(self, long long number) except -1
    @cython.locals(group=_Group, age=cython.longlong)
    cdef _Group _begin(self, long long number)
    cdef _file(self, _Group group, long long number, Py_ssize_t index, bytes shard)
    @cython.locals(group=_Group, number=cython.longlong, kept=dict)
    cdef _forgetOld(self)
