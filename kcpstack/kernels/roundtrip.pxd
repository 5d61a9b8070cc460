cdef class RoundTrip:
    cdef public object srtt
    cdef public double rto
    cdef double _rttvar, _floor, _jitter
    cdef bint _doubles

    cpdef take(self, double sample)
    cpdef double timeoutAfter(self, int timeouts) noexcept
