# cython: boundscheck=False, wraparound=False
"""sendmsg and recvmsg for batches, without a Python object for each datagram.

The compiled twin of kcpstack/layers/socketcalls.py, which has the contract.  Linux's UDP_SEGMENT and UDP_GRO are asked for
only where the layer above found that the kernel has them.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint16_t
from libc.string cimport memcmp, memcpy, memset

from kcpstack.batch cimport Batch

import os
import socket

cdef extern from "sys/types.h" nogil:
    ctypedef unsigned int socklen_t

cdef extern from "sys/socket.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    struct sockaddr_storage:
        pass
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    ssize_t recvmsg(int fd, msghdr *message, int flags)
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *previous)
    unsigned char *CMSG_DATA(cmsghdr *header)
    size_t CMSG_SPACE(size_t length)
    size_t CMSG_LEN(size_t length)
    int AF_INET, AF_INET6

cdef extern from "netinet/in.h" nogil:
    struct in_addr:
        unsigned int s_addr
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in6:
        unsigned short sin6_family
        unsigned short sin6_port
        unsigned int sin6_flowinfo
        in6_addr sin6_addr
        unsigned int sin6_scope_id

cdef extern from "arpa/inet.h" nogil:
    unsigned short htons(unsigned short port)
    unsigned short ntohs(unsigned short port)
    unsigned int htonl(unsigned int number)
    unsigned int ntohl(unsigned int number)
    int inet_pton(int family, const char *text, void *address)

cdef enum:
    RUN_MAX = 64  # GSO_SEGMENTS of kcpstack/layers/offload.py
    CONTROL = 256  # bytes, for what the kernel may tell with a datagram
    NAMES_MAX = 4096  # peers remembered; more are looked up again
    SOL_UDP = 17
    UDP_SEGMENT = 103
    UDP_GRO = 104


cdef class NativeCalls:
    """See kcpstack.layers.socketcalls.SocketCalls."""

    cdef object _socket
    cdef dict _names  # a sockaddr's bytes: the address as Python's sockets have it
    cdef object _lastAddress
    cdef bytes _lastName

    def __init__(self, sock):
        self._socket = sock
        self._names = {}
        self._lastAddress = None
        self._lastName = b""

    def sendRun(self, Batch batch not None, Py_ssize_t first, Py_ssize_t after, int size, address):
        cdef iovec pieces[RUN_MAX]
        cdef sockaddr_storage name
        cdef char control[CONTROL]
        cdef msghdr message
        cdef cmsghdr *header
        cdef Py_ssize_t i, start, end, limit
        cdef char *buffer
        cdef int fd = self._socket.fileno()
        cdef ssize_t sent
        memset(&message, 0, sizeof(message))
        if address is not None:
            message.msg_namelen = _fillName(&name, address)
            if not message.msg_namelen:
                raise ValueError(f"{address[0]} is not a numeric host")
            message.msg_name = &name
        buffer = PyByteArray_AS_STRING(batch.buffer)
        limit = PyByteArray_GET_SIZE(batch.buffer)
        if not 0 <= first < after <= first + RUN_MAX or after > len(batch.starts) or after > len(batch.ends):
            raise IndexError(f"datagrams {first} to {after} of {len(batch.starts)}")
        message.msg_iov = pieces
        for i in range(first, after):
            start = batch.starts[i]
            end = batch.ends[i]
            if not 0 <= start <= end <= limit:
                raise IndexError(f"a datagram from {start} to {end} in a buffer of {limit} bytes")
            if i > first and <char *>pieces[message.msg_iovlen - 1].iov_base + pieces[message.msg_iovlen - 1].iov_len == buffer + start:
                pieces[message.msg_iovlen - 1].iov_len += end - start
                continue
            pieces[message.msg_iovlen].iov_base = buffer + start
            pieces[message.msg_iovlen].iov_len = end - start
            message.msg_iovlen += 1
        if after - first > 1:
            memset(control, 0, sizeof(control))
            message.msg_control = control
            message.msg_controllen = CMSG_SPACE(sizeof(uint16_t))
            header = CMSG_FIRSTHDR(&message)
            header.cmsg_level = SOL_UDP
            header.cmsg_type = UDP_SEGMENT
            header.cmsg_len = CMSG_LEN(sizeof(uint16_t))
            (<uint16_t *>CMSG_DATA(header))[0] = <uint16_t>size
        while True:
            sent = sendmsg(fd, &message, 0)
            if sent >= 0:
                return None
            if errno != EINTR:
                return OSError(errno, os.strerror(errno))

    def receive(self, Batch batch not None, Py_ssize_t position, Py_ssize_t reserve, int reads):
        cdef sockaddr_storage name
        cdef char control[CONTROL]
        cdef msghdr message
        cdef iovec piece
        cdef Py_ssize_t limit = PyByteArray_GET_SIZE(batch.buffer)
        cdef Py_ssize_t end, size
        cdef ssize_t length
        cdef int fd = self._socket.fileno()
        cdef list starts = batch.starts, ends = batch.ends, addresses = batch.addresses
        while reads > 0 and position + reserve <= limit:
            reads -= 1
            memset(&message, 0, sizeof(message))
            piece.iov_base = PyByteArray_AS_STRING(batch.buffer) + position
            piece.iov_len = reserve
            message.msg_iov = &piece
            message.msg_iovlen = 1
            message.msg_name = &name
            message.msg_namelen = sizeof(name)
            message.msg_control = control
            message.msg_controllen = sizeof(control)
            length = recvmsg(fd, &message, 0)
            if length < 0:
                if errno == EINTR:
                    continue
                return position, reads, OSError(errno, os.strerror(errno))
            if length == 0:
                continue
            address = self._addressOf(<char *>&name, message.msg_namelen)
            size = _segmentSize(&message) or length
            end = position + length
            while position < end:
                starts.append(position)
                position += size
                ends.append(min(position, end))
                addresses.append(address)
            position = end
        return position, reads, None

    cdef object _addressOf(self, char *name, socklen_t length):
        """What Python calls the sockaddr ``name``.  The same object for the same peer, as long as it is remembered."""
        if <Py_ssize_t>length == PyBytes_GET_SIZE(self._lastName) and not memcmp(PyBytes_AS_STRING(self._lastName), name, length):
            return self._lastAddress
        raw = PyBytes_FromStringAndSize(name, length)
        address = self._names.get(raw)
        if address is None:
            address = _readName(<sockaddr_storage *>name)
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            self._names[raw] = address
        self._lastName = raw
        self._lastAddress = address
        return address


cdef int _segmentSize(msghdr *message) noexcept:
    """What GRO says of the datagrams that it joined; 0 where it joined none."""
    cdef cmsghdr *header = CMSG_FIRSTHDR(message)
    cdef int size = 0
    while header != NULL:
        if header.cmsg_level == SOL_UDP and header.cmsg_type == UDP_GRO and header.cmsg_len >= CMSG_LEN(sizeof(int)):
            memcpy(&size, CMSG_DATA(header), sizeof(int))
            return size if size > 0 else 0
        header = CMSG_NXTHDR(message, header)
    return 0


cdef socklen_t _fillName(sockaddr_storage *name, address) except? 0:
    """Fill in the sockaddr of an address (a tuple as Python's sockets have it); 0 where its host is not numeric."""
    cdef sockaddr_in *four = <sockaddr_in *>name
    cdef sockaddr_in6 *six = <sockaddr_in6 *>name
    cdef bytes host = address[0].encode("ascii", "replace")
    memset(name, 0, sizeof(sockaddr_in6))
    if len(address) == 2 and inet_pton(AF_INET, host, &four.sin_addr) == 1:
        four.sin_family = AF_INET
        four.sin_port = htons(address[1])
        return sizeof(sockaddr_in)
    if len(address) == 4 and inet_pton(AF_INET6, host, &six.sin6_addr) == 1:
        six.sin6_family = AF_INET6
        six.sin6_port = htons(address[1])
        six.sin6_flowinfo = htonl(address[2])
        six.sin6_scope_id = address[3]
        return sizeof(sockaddr_in6)
    return 0


cdef object _readName(sockaddr_storage *name):
    cdef sockaddr_in *four = <sockaddr_in *>name
    cdef sockaddr_in6 *six = <sockaddr_in6 *>name
    if four.sin_family == AF_INET:
        host = socket.inet_ntop(socket.AF_INET, PyBytes_FromStringAndSize(<char *>&four.sin_addr, 4))
        return host, ntohs(four.sin_port)
    host = socket.inet_ntop(socket.AF_INET6, PyBytes_FromStringAndSize(<char *>&six.sin6_addr, 16))
    return host, ntohs(six.sin6_port), ntohl(six.sin6_flowinfo), six.sin6_scope_id
