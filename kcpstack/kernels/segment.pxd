cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from kcpstack.batch cimport Batch

cdef Py_ssize_t _OVERHEAD
cdef long long _MASK, _HALF, _MODULUS

cdef inline uint32_t _get32(const uint8_t *at) noexcept nogil:
    return at[0] | (<uint32_t>at[1] << 8) | (<uint32_t>at[2] << 16) | (<uint32_t>at[3] << 24)

cdef inline void _put32(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>value
    at[1] = <uint8_t>(value >> 8)
    at[2] = <uint8_t>(value >> 16)
    at[3] = <uint8_t>(value >> 24)

cdef inline (uint32_t, int, int, int, uint32_t, uint32_t, uint32_t, uint32_t) readHeader(bytearray buffer, Py_ssize_t at) noexcept:
    cdef const uint8_t *head = <const uint8_t *>PyByteArray_AS_STRING(buffer) + at
    return (_get32(head), head[4], head[5], head[6] | (head[7] << 8), _get32(head + 8), _get32(head + 12),
            _get32(head + 16), _get32(head + 20))

cdef inline void putHeader(bytearray buffer, Py_ssize_t at, uint32_t conv, int cmd, int frg, int window,
                           uint32_t ts, uint32_t sn, uint32_t una, uint32_t length) noexcept:
    cdef uint8_t *head = <uint8_t *>PyByteArray_AS_STRING(buffer) + at
    _put32(head, conv)
    head[4] = <uint8_t>cmd
    head[5] = <uint8_t>frg
    head[6] = <uint8_t>window
    head[7] = <uint8_t>(window >> 8)
    _put32(head + 8, ts)
    _put32(head + 12, sn)
    _put32(head + 16, una)
    _put32(head + 20, length)

cdef inline bytes copied(bytearray buffer, Py_ssize_t start, Py_ssize_t end):
    return PyBytes_FromStringAndSize(PyByteArray_AS_STRING(buffer) + start, end - start)

cdef inline int copyIn(bytearray buffer, Py_ssize_t at, data, Py_ssize_t length) except -1:
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    if view.len == length:
        memcpy(PyByteArray_AS_STRING(buffer) + at, view.buf, length)
        PyBuffer_Release(&view)
        return 0
    PyBuffer_Release(&view)
    raise ValueError("data whose items are not bytes")

@cython.locals(distance=cython.longlong)
cpdef long long nearest(unsigned int wire, long long reference) noexcept

cdef class Packer:
    cdef public Py_ssize_t done
    cdef Batch _batch
    cdef Py_ssize_t _mtu, _start, _size

    @cython.locals(length=cython.Py_ssize_t, at=cython.Py_ssize_t)
    cpdef put(self, uint32_t conv, int cmd, int window, uint32_t ts, uint32_t sn, uint32_t una, data=*)
    @cython.locals(at=cython.Py_ssize_t)
    cdef Py_ssize_t _begin(self, Py_ssize_t size) except -1
    cpdef finish(self)
