cdef class Batch:
    cdef public bytearray buffer
    cdef public list starts
    cdef public list ends
    cdef public object addresses
    cdef public Py_ssize_t stride
    cdef public Py_ssize_t headroom
    cdef Py_ssize_t _slots

    cpdef void clear(self)
    cpdef Py_ssize_t allocate(self, Py_ssize_t length) except -1
    cpdef append(self, datagram)
