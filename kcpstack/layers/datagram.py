"""The datagram layer: a UDP socket that moves batches.

A system call costs more than a datagram, so runs of datagrams cross in one: Linux takes a run of equal
ones in a single ``sendmsg`` (UDP_SEGMENT, "GSO": the last may be shorter) and hands over what came
in sequence from one peer in a single ``recvmsg`` (UDP_GRO).  Both are probed when the socket is
made and given up for good where they fail later (some devices refuse them); then datagrams cross
one by one.  Source: udp(7), and Linux Documentation/networking/segmentation-offloads.rst.

Twisted's own UDP port reads one datagram at a call and is not used; this is its counterpart
for ``reactor.addReader``, so it runs on every reactor that has file descriptors.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramReceiver, IDatagramTransport

__all__ = ["UDPTransport"]


@implementer(IDatagramTransport, IReadWriteDescriptor)
class UDPTransport:
    """A UDP socket on ``reactor`` (IReactorFDSet).

    ``host`` and ``port`` are where to listen ("" for every address, both families where the
    system allows); or ``peer``, a (host, port) with a numeric host, makes a socket connected to it, so that the
    kernel drops what strangers send.  ``buffers`` is asked for as the kernel's buffer, in bytes, each way.
    ``offload=False`` does without GSO and GRO."""

    def __init__(
        self,
        reactor: Any,
        counters: Counters,
        host: str = "",
        port: int = 0,
        peer: tuple[str, int] | None = None,
        buffers: int = 0,
        offload: bool = True,
    ) -> None:
        self._reactor = reactor
        self._counters = counters
        self._host = host
        self._port = port
        self._peer = peer
        self._buffers = buffers
        self._offload = offload
        self.canSegment = False  # GSO
        self.canCoalesce = False  # GRO
        self._socket: Any = None
        self._receiver: Any = None
        self._readBuffer = bytearray()
        self._backlog: deque[tuple[bytes, int, Any]] = deque()  # what the kernel had no room for
        self._backlogBytes = 0

    # ------------------------------------------------------------ IDatagramTransport

    def startListening(self, receiver: IDatagramReceiver) -> None:
        """Open the socket.  Raises CannotListenError."""
        try:
            self._socket = self._open()
        except OSError as error:
            raise CannotListenError(self._host, self._port, error) from None
        self._receiver = receiver
        self._probe()
        self._readBuffer = bytearray(READ_BYTES if self.canCoalesce else READ_BYTES_PLAIN)
        self._reactor.addReader(self)

    def send(self, batch: Batch, address: Any) -> None:
        """See IDatagramTransport."""
        if self._socket is None:
            return
        self._counters.OutPkts += len(batch)
        self._counters.OutBytes += sum(batch.ends) - sum(batch.starts)
        view = memoryview(batch.buffer)
        starts, ends = batch.starts, batch.ends
        index, count = 0, len(starts)
        while index < count:
            size = ends[index] - starts[index]
            after = index + 1
            if self.canSegment:
                after = _runEnd(starts, ends, index)
            pieces = [view[starts[i] : ends[i]] for i in range(index, after)]
            self._sendRun(pieces, size, address)
            index = after
        del pieces
        view.release()

    def getHost(self) -> Any:
        """The socket's own address."""
        return _asAddress(self._socket.getsockname())

    def stopListening(self) -> defer.Deferred[None]:
        """Close the socket at once."""
        self._close()
        return defer.succeed(None)

    # ------------------------------------------------------------ reading

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def logPrefix(self) -> str:
        return "kcp"

    def doRead(self) -> None:
        """Drain the socket, up to a bound, into one batch."""
        view = memoryview(self._readBuffer)
        batch = Batch()
        batch.buffer = self._readBuffer
        addresses: list[Any] = []
        reserve = GRO_BYTES if self.canCoalesce else DATAGRAM_BYTES
        position = 0
        for _ in range(READS_PER_TURN):
            if position + reserve > len(view):
                break
            try:
                length, control, _flags, address = self._socket.recvmsg_into(
                    [view[position : position + reserve]], CONTROL_BYTES
                )
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionRefusedError:
                self._receiver.connectionRefused()
                continue
            except OSError as error:
                _log.warn("reading from the UDP socket failed: {error}", error=error)
                break
            size = _segmentSize(control) or length
            end = position + length
            for start in range(position, end, size) if length else ():
                batch.starts.append(start)
                batch.ends.append(min(start + size, end))
                addresses.append(address)
            position = end
        view.release()
        if addresses:
            batch.addresses = addresses
            try:
                self._receiver.datagramsReceived(batch)
            except Exception:  # noqa: BLE001 - a reactor closes what raises, and this is everybody's socket
                _log.failure("Datagrams were dropped: a layer above the UDP socket raised")

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of the socket: because it stops, or because it takes an error that
        waits there (an ICMP message, say) for the end of a connection, as epoll and poll do when there
        is nothing to read.  UDP has none: the error is taken note of, and the socket stays."""
        if self._socket is None:
            return
        if not reason.check(ConnectionDone):
            self._close()
            return
        if self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED:
            self._receiver.connectionRefused()
        if self._socket is not None:
            self._reactor.addReader(self)
            if self._backlog:
                self._reactor.addWriter(self)

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None
            self._backlog.clear()
            self._readBuffer = bytearray()

    # ------------------------------------------------------------ writing

    def doWrite(self) -> None:
        """The kernel has room again."""
        while self._backlog:
            data, size, address = self._backlog.popleft()
            self._backlogBytes -= len(data)
            if not self._sendRun([data], size, address, first=True):
                return
        self._reactor.removeWriter(self)

    def _sendRun(self, pieces: list[Any], size: int, address: Any, first: bool = False) -> bool:
        """Send a run of datagrams of ``size`` bytes (the last may be shorter).  False where the
        kernel has no room: then the run is kept, in front if ``first``."""
        if self._backlog and not first:
            self._keep(pieces, size, address, first)
            return False
        control = []
        if len(pieces) > 1 or len(pieces[0]) > size:
            if not self.canSegment:
                return self._sendSingly(pieces, size, address, first)
            control = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
        for _ in range(2):  # an error of an earlier datagram may be reported here, once
            try:
                if self._peer is not None:
                    self._socket.sendmsg(pieces, control)
                else:
                    self._socket.sendmsg(pieces, control, 0, address)
                return True
            except (BlockingIOError, InterruptedError):
                self._keep(pieces, size, address, first)
                return False
            except ConnectionRefusedError:
                self._receiver.connectionRefused()
            except OSError as error:
                if control and error.errno in (errno.EIO, errno.EINVAL, errno.EMSGSIZE):
                    self._giveUpSegmenting(error)
                    return self._sendSingly(pieces, size, address, first)
                self._sendFailed(error, len(pieces))
                return True
            if self._socket is None:
                return True
        self._counters.OutErrs += len(pieces)
        return True

    def _sendSingly(self, pieces: list[Any], size: int, address: Any, first: bool) -> bool:
        sent = True
        for piece in pieces:
            for start in range(0, len(piece), size):
                sent = self._sendRun([piece[start : start + size]], size, address, first and sent)
        return sent

    def _keep(self, pieces: list[Any], size: int, address: Any, first: bool) -> None:
        data = b"".join(pieces)
        if self._backlogBytes + len(data) > BACKLOG_BYTES:
            self._counters.OutErrs += -(-len(data) // size)
            return
        self._backlogBytes += len(data)
        if first:
            self._backlog.appendleft((data, size, address))
        else:
            self._backlog.append((data, size, address))
        self._reactor.addWriter(self)

    def _sendFailed(self, error: OSError, count: int) -> None:
        """Whatever it is (no buffers, no route, too long), the ARQ sends again what it must."""
        before = self._counters.OutErrs
        self._counters.OutErrs += count
        if before == 0:
            _log.warn("sending failed: {error}; counted as OutErrs from now on", error=error)

    def _giveUpSegmenting(self, error: OSError) -> None:
        self.canSegment = False
        _log.info("the kernel or device refused a GSO send ({error}): sending one by one", error=error)

    # ------------------------------------------------------------ the socket

    def _open(self) -> socket.socket:
        host = self._peer[0] if self._peer is not None else self._host
        family = socket.AF_INET6 if ":" in host or (not host and socket.has_dualstack_ipv6()) else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not host else 1)
            if self._buffers:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffers)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffers)
            if self._peer is not None:
                sock.connect(self._peer)
            else:
                sock.bind((self._host, self._port))
        except OSError:
            sock.close()
            raise
        return sock

    def _probe(self) -> None:
        """Find out what the kernel offers."""
        if not self._offload:
            return
        try:
            self._socket.getsockopt(SOL_UDP, UDP_SEGMENT)
            self.canSegment = True
        except OSError:
            _log.info("no UDP segmentation offload here: sending datagrams one by one")
        try:
            self._socket.setsockopt(SOL_UDP, UDP_GRO, 1)
            self.canCoalesce = True
        except OSError:
            _log.info("no UDP receive offload here: receiving datagrams one by one")


def _runEnd(starts: list[int], ends: list[int], index: int) -> int:
    """The index after the run that begins at ``index`` and can go in one GSO send."""
    size = ends[index] - starts[index]
    if size <= 0:
        return index + 1
    limit = min(len(starts), index + min(GSO_SEGMENTS, GSO_BYTES // size))
    after = index + 1
    while after < limit:
        length = ends[after] - starts[after]
        if length != size:
            return after + 1 if 0 < length < size else after
        after += 1
    return max(after, index + 1)


def _segmentSize(control: list[tuple[int, int, bytes]]) -> int:
    """The length of the datagrams that GRO put together; 0 where it did not."""
    for level, kind, data in control:
        if level == SOL_UDP and kind == UDP_GRO and len(data) >= 4:
            return int(struct.unpack_from("=i", data)[0])
    return 0


def _asAddress(name: tuple[Any, ...]) -> Any:
    if len(name) == 2:
        return IPv4Address("UDP", *name)
    return IPv6Address("UDP", *name)


# Linux, include/uapi/linux/udp.h; the socket module names them only from Python 3.12 on.
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
CONTROL_BYTES = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0

GSO_SEGMENTS = 64  # the kernel's limit in one send (UDP_MAX_SEGMENTS, before Linux 6.9)
GSO_BYTES = 65_507  # the longest UDP payload over IPv4
GRO_BYTES = 65_536  # what one coalesced receive may need
DATAGRAM_BYTES = 2048  # longer than any datagram of a peer (mtu 1500), so that truncation cannot pass
READ_BYTES = 4 * GRO_BYTES  # per turn: other sockets get theirs after some 200 datagrams
READ_BYTES_PLAIN = 128 * DATAGRAM_BYTES
READS_PER_TURN = 128
BACKLOG_BYTES = 1024 * 1024  # a few turns' worth; beyond it waiting is worse than losing

_log = Logger()
