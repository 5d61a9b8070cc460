cimport cython

from kcpstack.kernels.roundtrip cimport RoundTrip

cdef long long _ACKNOWLEDGED

@cython.freelist(1024)
cdef class Segment:
    cdef public long long sn
    cdef public object data
    cdef public long long number
    cdef public double sent
    cdef public int timeouts
    cdef public tuple earlier

    cpdef sentAt(self, long long number)

cdef class Flights:
    cdef public long long number
    cdef public int _resend
    cdef RoundTrip _roundTrip
    cdef public list _flights
    cdef public list _overtakers

    cpdef long long depart(self, Segment segment, double now) except? -1
    cpdef overtaken(self, long long newest)
    @cython.locals(due=cython.double, expires=cython.double, timeouts=cython.int, first=tuple, segment=Segment)
    cpdef nextTimeout(self)
    @cython.locals(needed=cython.int, threshold=cython.longlong, skipped=cython.int, timedOut=cython.int, timeouts=cython.int,
                   timeout=cython.double, first=tuple, segment=Segment, number=cython.longlong, found=list)
    cpdef takeLost(self, double now, bint early)

@cython.locals(first=tuple, segment=Segment)
cdef _dropSettled(flight)
