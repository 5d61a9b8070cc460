"""The datagram layer: a UDP socket that moves batches.

A run of datagrams goes out in one system call, and comes in in one, where the system can do that
(offload.py); elsewhere they cross one by one.

Twisted's own UDP port reads one datagram at a call and is not used; this is its counterpart
for ``reactor.addReader``, so it runs on every reactor that has file descriptors.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IReactorTime, IReadWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.batch import Batch, BytesLike, PeerAddress
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramReceiver, IDatagramTransport, ITrafficMarking
from kcpstack.layers.offload import GRO_BYTES, Control, Segmentation, coalesce, runControl, runEnd
from kcpstack.layers.socketcalls import Calls, socketCalls
from kcpstack.layers.udpsocket import SocketErrors, markTraffic, openSocket

__all__ = ["Shared", "UDPTransport"]


class Shared:
    """What sockets of one process can share: what was found out of the kernel, when the user was last
    told of an error, and a read buffer (a batch is done with before the next socket is read)."""

    def __init__(self, clock: IReactorTime) -> None:
        self.segmentation = Segmentation(clock)
        self.errors = SocketErrors(clock)
        self._buffer = bytearray()
        self._warned: set[str] = set()

    def readBuffer(self) -> bytearray:
        """The buffer, of READ_BYTES, made when it is first asked for."""
        if not self._buffer:
            self._buffer = bytearray(READ_BYTES)
        return self._buffer

    def warnOnce(self, format: str, **values: Any) -> None:
        """Log a warning, or nothing where one with this ``format`` was logged before."""
        if format not in self._warned:
            self._warned.add(format)
            _log.warn(format, **values)


@implementer(IDatagramTransport, ITrafficMarking, IReadWriteDescriptor)
class UDPTransport:
    """A UDP socket on ``reactor`` (IReactorFDSet, IReactorTime).

    ``host`` and ``port`` are where to listen ("" for every address, both families where the
    system allows); or ``peer``, a (host, port) with a numeric host, makes a socket connected to it, so that the
    kernel drops what strangers send.  ``buffers`` is asked for as the kernel's buffer, in bytes, each way.
    ``offload=False`` does without GSO and GRO.  ``dscp``, 0 to 63, marks what is sent.  ``shared`` is
    given where several sockets have it in common.

    ``sock`` is a socket to listen on instead of opening one: of UDP, not blocking, bound already.  It is ours from then
    on, and so to be closed."""

    overhead = 0

    _receiver: IDatagramReceiver  # once it listens

    def __init__(
        self,
        reactor: Any,
        counters: Counters,
        host: str = "",
        port: int = 0,
        peer: tuple[str, int] | None = None,
        buffers: int = 0,
        offload: bool = True,
        dscp: int = 0,
        shared: Shared | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self._given = sock
        self._reactor = reactor
        self._counters = counters
        self._host = host
        self._port = port
        self._peer = peer
        self._buffers = buffers
        self._offload = offload
        self._dscp = dscp
        self._shared = shared or Shared(reactor)
        self._segmentation = self._shared.segmentation
        self.canCoalesce = False  # GRO
        self._socket: socket.socket | None = None
        self._calls: Calls  # once it listens
        self._readBuffer = bytearray()
        self._backlog: deque[tuple[bytes, int, PeerAddress | None]] = deque()  # what the kernel had no room for
        self._backlogBytes = 0

    # ------------------------------------------------------------ IDatagramTransport

    def startListening(self, receiver: IDatagramReceiver) -> None:
        """Open the socket.  Raises CannotListenError."""
        try:
            sock = self._given or openSocket(self._host, self._port, self._peer, self._buffers)
        except OSError as error:
            raise CannotListenError(self._host, self._port, error) from None
        self._use(sock)
        self._receiver = receiver
        if self._dscp:
            self._mark(sock)
        if self._offload:
            self._segmentation.probe(sock)
            self.canCoalesce = coalesce(sock)
        self._readBuffer = self._shared.readBuffer()
        self._reactor.addReader(self)

    def send(self, batch: Batch, address: PeerAddress | None) -> None:
        """See IDatagramTransport."""
        if self._socket is None or not batch:
            return
        self._counters.OutPkts += len(batch)
        self._counters.OutBytes += sum(batch.ends) - sum(batch.starts)
        starts, ends = batch.starts, batch.ends
        index, count = 0, len(starts)
        while index < count:
            size = ends[index] - starts[index]
            after = runEnd(starts, ends, index) if self._canSegment(address, size) else index + 1
            if self._backlog or self._socket is None:
                self._keep(_pieces(batch, index, after), size, address)
            else:
                self._sendNow(batch, index, after, size, address)
            index = after

    def _sendNow(self, batch: Batch, index: int, after: int, size: int, address: PeerAddress | None) -> None:
        """Send a run of a batch.  What goes wrong is the slow way's to sort out."""
        try:
            failed = self._calls.sendRun(batch, index, after, size, address if self._peer is None else None)
            if failed is None:
                return
        except ValueError:  # no numeric host
            failed = None
        left = self._sendRun(_pieces(batch, index, after), size, address, failed)
        if left:
            self._keep(left, size, address)

    def getHost(self) -> IPv4Address | IPv6Address:
        """The socket's own address.  Only while it listens."""
        assert self._socket is not None
        return _asAddress(self._socket.getsockname())

    def stopListening(self) -> defer.Deferred[None]:
        """Close the socket at once."""
        self._close()
        return defer.succeed(None)

    def setDSCP(self, dscp: int) -> None:
        """Mark what is sent from now on with ``dscp``, 0 to 63."""
        self._dscp = dscp
        if self._socket is not None:
            self._mark(self._socket)

    def _use(self, sock: socket.socket) -> None:
        self._socket = sock
        self._calls = socketCalls(sock)

    def _mark(self, sock: socket.socket) -> None:
        try:
            markTraffic(sock, self._dscp)
        except OSError as error:
            self._shared.warnOnce(
                "--dscp: this system does not let us mark datagrams ({why}): they go without",
                why=error.strerror or error,
            )

    # ------------------------------------------------------------ reading

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket is not None else -1

    def logPrefix(self) -> str:
        return "kcp"

    def doRead(self) -> None:
        """Drain the socket, up to a bound, into one batch."""
        if self._socket is None:
            return
        batch = Batch()
        batch.buffer = self._readBuffer
        addresses: list[PeerAddress] = []
        batch.addresses = addresses
        reserve = GRO_BYTES if self.canCoalesce else DATAGRAM_BYTES
        position, reads = 0, READS_PER_TURN
        while self._socket is not None:
            position, reads, error = self._calls.receive(batch, position, reserve, reads)
            if error is None or isinstance(error, BlockingIOError):
                break
            self._told(error)
            if error.errno != errno.ECONNREFUSED:
                break
        if addresses and self._socket is not None:  # a receiver that was told of an error may close it
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
        waiting = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if waiting:
            self._told(OSError(waiting, os.strerror(waiting)))
        if self._socket is not None:
            self._reactor.addReader(self)
            if self._backlog:
                self._reactor.addWriter(self)

    def _told(self, error: OSError, address: PeerAddress | None = None) -> None:
        """The socket reports ``error``, its own or the network's, of sending to ``address``."""
        if error.errno == errno.ECONNREFUSED:
            self._receiver.connectionRefused()
        else:
            self._shared.errors.happened(error, self._peer or address)

    def _close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            self._socket.close()
            self._socket = None
            self._backlog.clear()
            self._backlogBytes = 0
            self._readBuffer = bytearray()

    # ------------------------------------------------------------ writing

    def doWrite(self) -> None:
        """The kernel has room again."""
        while self._backlog:
            data, size, address = self._backlog.popleft()
            self._backlogBytes -= len(data)
            left = self._sendRun([data], size, address)
            if left:
                self._keep(left, size, address, first=True)
                return
        self._reactor.removeWriter(self)

    def _canSegment(self, address: PeerAddress | None, size: int) -> bool:
        return self._offload and self._segmentation.allows(address, size)

    def _sendRun(
        self, pieces: list[BytesLike], size: int, address: PeerAddress | None, failed: OSError | None = None
    ) -> list[BytesLike]:
        """Send a run of datagrams of ``size`` bytes (the last may be shorter): a piece for each, or
        one for all.  Returns what the kernel has no room for now, as such pieces.  ``failed``: what came of a first try."""
        if len(pieces) > 1 or len(pieces[0]) > size:
            if self._canSegment(address, size):
                error = self._trySending(pieces, runControl(size), address, failed)
                failed = None
                if error is None:
                    return []
                if isinstance(error, BlockingIOError):
                    return pieces
                if not self._segmentation.refused(error, address, size):
                    self._sendFailed(error, sum(-(-len(piece) // size) for piece in pieces), address)
                    return []
            if len(pieces) == 1:
                whole = pieces[0]
                pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
        for index, piece in enumerate(pieces):
            error = self._trySending([piece], [], address, failed)
            failed = None
            if isinstance(error, BlockingIOError):
                return pieces[index:]
            if error is not None:
                self._sendFailed(error, 1, address)
        return []

    def _trySending(
        self, pieces: list[BytesLike], control: Control, address: PeerAddress | None, failed: OSError | None = None
    ) -> OSError | None:
        """One send, which may have ``failed`` once.  Returns the error that kept it from leaving.

        A connected socket reports errors of earlier datagrams here, each once: so what fails is tried again."""
        error = failed or self._sendmsg(pieces, control, address)
        if error is None or self._peer is None or isinstance(error, BlockingIOError):
            return error
        again = self._sendmsg(pieces, control, address)
        if again is None or again.errno != error.errno:
            self._told(error)
        return again

    def _sendmsg(self, pieces: list[BytesLike], control: Control, address: PeerAddress | None) -> OSError | None:
        if self._socket is None:  # closed while an earlier piece was sent: see doRead
            return None
        try:
            if self._peer is None:
                self._socket.sendmsg(pieces, control, 0, address)
            else:
                self._socket.sendmsg(pieces, control)
        except OSError as error:
            return error.with_traceback(None)  # whose frames would hold on to the batch's buffer, which may grow
        return None

    def _keep(self, pieces: list[BytesLike], size: int, address: PeerAddress | None, first: bool = False) -> None:
        """Keep a run until the kernel has room, up to a bound.  ``first``: it is the oldest."""
        if self._socket is None:
            return
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

    def _sendFailed(self, error: OSError, count: int, address: PeerAddress | None) -> None:
        """Whatever it is (no buffers, no route, too long), the ARQ sends again what it must."""
        self._counters.OutErrs += count
        self._told(error, address)


def _pieces(batch: Batch, first: int, after: int) -> list[BytesLike]:
    """Copies of some datagrams of a batch."""
    return [bytes(batch.buffer[batch.starts[i] : batch.ends[i]]) for i in range(first, after)]


def _asAddress(name: PeerAddress) -> IPv4Address | IPv6Address:
    if len(name) == 2:
        return IPv4Address("UDP", *name)
    return IPv6Address("UDP", *name)


DATAGRAM_BYTES = 2048  # longer than any datagram of a peer (mtu 1500), so that truncation cannot pass
READ_BYTES = 4 * GRO_BYTES  # per turn: other sockets get theirs after some 200 datagrams
READS_PER_TURN = 128
BACKLOG_BYTES = 1024 * 1024  # a few turns' worth; beyond it waiting is worse than losing

_log = Logger()
