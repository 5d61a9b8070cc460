cimport cython
from libc.stdint cimport uint32_t

from kcpstack.batch cimport Batch
from kcpstack.kernels.flights cimport Flights, Segment
from kcpstack.kernels.reassembly cimport Reassembly
from kcpstack.kernels.roundtrip cimport RoundTrip
from kcpstack.kernels.segment cimport Packer, nearest, readHeader

cdef Py_ssize_t _OVERHEAD
cdef long long _MASK, _ACKNOWLEDGED
cdef int _PUSH, _ACK, _ASK, _TELL
cdef uint32_t _DATA_MAX

cdef class ARQ:
    cdef public uint32_t conv
    cdef public Py_ssize_t unsent
    cdef public object heardAt
    cdef public object answeredAt
    cdef public bint strained
    cdef public Py_ssize_t longestArrived
    cdef public object _waitingSince
    cdef public Py_ssize_t _mtu
    cdef public Py_ssize_t _mss
    cdef public object _tuning
    cdef public object _congestion
    cdef public object _counters
    cdef public object _queue
    cdef public Py_ssize_t _taken
    cdef public dict _segments
    cdef public long long _una
    cdef public long long _nxt
    cdef public object _lost
    cdef public RoundTrip _roundTrip
    cdef public Flights _flights
    cdef public long long _remoteWindow
    cdef public long long _remoteUna
    cdef public object _probeAt
    cdef public double _probeWait
    cdef public bint _ask
    cdef public bint _retry
    cdef public Reassembly _arrived
    cdef public bint _tell
    cdef public long long _told
    cdef public Py_ssize_t _segmentsSent

    cpdef write(self, data)
    cpdef list read(self, Py_ssize_t most)
    cpdef silentSince(self)
    cpdef nextTimeout(self)
    @cython.locals(start=cython.Py_ssize_t, end=cython.Py_ssize_t, size=cython.Py_ssize_t)
    cpdef datagramsReceived(self, Batch batch, double now, bint recovered=*)
    @cython.locals(una=cython.longlong, newest=cython.longlong, number=cython.longlong, fits=cython.bint, answers=cython.bint,
                   segments=cython.Py_ssize_t, acknowledged=cython.Py_ssize_t, at=cython.Py_ssize_t, body=cython.Py_ssize_t,
                   conv=uint32_t, cmd=cython.int, _frg=cython.int, window=cython.int, ts=uint32_t, sn=uint32_t,
                   wireUna=uint32_t, length=uint32_t, segment=Segment)
    cdef bint _datagramReceived(self, bytearray buffer, Py_ssize_t start, Py_ssize_t end, double now, bint recovered) except -1
    @cython.locals(number=cython.longlong)
    cdef long long _numberOf(self, uint32_t wireSN, uint32_t ts) except -2
    cdef _settle(self, Segment segment)
    @cython.locals(newest=cython.longlong, count=cython.Py_ssize_t, sn=cython.longlong, segment=Segment)
    cdef long long _unaReceived(self, long long una, double now) except -2
    @cython.locals(room=cython.longlong, pushes=cython.bint, acks=cython.bint, more=cython.bint, acksMost=cython.Py_ssize_t,
                   packer=Packer, segment=Segment)
    cpdef bint flush(self, double now, Batch batch, Py_ssize_t most=*) except -1
    cpdef long long _sendRoom(self) except? -1
    @cython.locals(number=cython.longlong)
    cdef _transmit(self, Segment segment, double now, Packer packer)
    @cython.locals(mss=cython.Py_ssize_t, begin=cython.Py_ssize_t, end=cython.Py_ssize_t, head=bytes, data=bytes)
    cdef bytes _cut(self)
    @cython.locals(wanted=cython.Py_ssize_t, piece=bytes, pieces=list)
    cdef bytes _cutAcross(self)
    cpdef _putProbes(self, Packer packer)
    cpdef _probeClosedWindow(self, double now)
    cpdef _findLost(self, double now, bint early)
    cpdef oldest(self)
    @cython.locals(segment=Segment, found=list)
    cpdef list inFlight(self, Py_ssize_t length, Py_ssize_t most)
    cpdef probe(self)
    @cython.locals(segment=Segment)
    cpdef _retryOldest(self, double now, Packer packer)
