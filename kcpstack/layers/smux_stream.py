"""One stream of a smux session, as the transport of a Twisted protocol.

How a stream ends
-----------------

On the wire FIN ends its sender's direction.  smux has nothing to say "I do not read any more
either", and older peers mean just that with FIN.  So ends of our kind announce themselves (see
smux.py), and use a NOP with the stream's id, which Go peers ignore, as a mark:

====================================  =====================================================
we                                    send
====================================  =====================================================
``loseWriteConnection``               all that was written, FIN
``loseConnection``                    all that was written, FIN (if not sent before), mark
``abortConnection``                   mark, FIN (if not sent before); queued data is dropped
====================================  =====================================================

The mark is left out where the peer has already sent FIN: both directions have ended then.  It is
also left out towards a peer that is known not to be of our kind.

======================================  ===================================================
an announced peer sent                  what its protocol did, and what we do
======================================  ===================================================
FIN                                     ended its direction; ours goes on without limit
mark after FIN                          closed: our unsent data is dropped, connectionLost
mark before FIN                         aborted: connectionLost at once, PeerAborted; or
                                        PeerClosedDown where it cuts all streams
======================================  ===================================================

Other peers only send FIN.  Old ones (smux 1.5.16) have closed both directions then, newer ones
only theirs.  So our direction stays open for PEER_FIN_GRACE after their FIN was handed to the
protocol, and longer while UPDs prove that the peer still reads; then the stream is closed.  And as
smux 1.5.57 throws away what it has not yet read once both directions have ended, our FIN comes
FIN_LAG after our data when theirs came first.

All data that arrived before a FIN is handed to the protocol before ``readConnectionLost``, and
that before ``connectionLost``; a paused protocol gets them when it resumes.  Where both directions have
ended by then, that is so even if the session is over: its peer may have left, for there was nothing more to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall, IHalfCloseableProtocol, IProducer, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.batch import BytesLike
from kcpstack.errors import PeerAborted, PeerClosedDown
from kcpstack.interfaces import IStreamTransport
from kcpstack.layers.smux_flow import ByteQueue, ReceiveWindow, SendWindow
from kcpstack.layers.smux_frames import FIN, HEADER_SIZE, NOP, PSH, encodeHeader, encodeUpdate
from kcpstack.layers.smux_sending import FrameSender
from kcpstack.layers.tcpmanners import TCPManners

if TYPE_CHECKING:
    from kcpstack.layers.smux import SmuxSession

__all__ = ["SmuxStream", "PEER_FIN_GRACE", "FIN_LAG"]

SEND_HIGH_WATER = 262144  # bytes queued at which a producer is paused: some turns of TCP reading
SEND_LOW_WATER = SEND_HIGH_WATER // 2  # and resumed, with enough left that the session never starves
DELIVERY_SIZE = 262144  # bytes given to a resumed protocol at once: it may pause again in between
WINDOW_SLACK = 65536  # bytes beyond its window that a peer is forgiven: a frame
PEER_FIN_GRACE = 10.0  # seconds; a peer that still reads takes its data within that
FIN_LAG = 1.0  # seconds; long enough to read what is there, short enough not to matter at a close


@implementer(IStreamTransport)
class SmuxStream(TCPManners):
    """A stream.  Made by its session, which calls the methods under "for the session".

    Like Twisted's TCP: ``write`` never refuses, a producer is paused while SEND_HIGH_WATER bytes
    are queued, ``loseConnection`` waits for a registered producer to be unregistered, and
    ``connectionLost`` comes once, never from within a call of this object.  A protocol that
    raises is disconnected, and its exception logged.
    """

    _log = Logger()

    __slots__ = (
        "streamID", "_session", "_sender", "_version", "_protocol",
        "_output", "_sendWindow", "_producer", "_streaming", "_producerPaused",
        "_ending", "_closing", "_ended",
        "_unread", "_receiveWindow", "_paused", "_delivering",
        "remoteEnded", "_remoteClosed", "_remoteAborted", "_readLost",
        "_grace", "_lagging", "_shortfall", "_alone", "_reason",
    )  # fmt: skip

    def __init__(self, session: SmuxSession, sender: FrameSender, streamID: int, streamBuffer: int) -> None:
        version = session.version
        assert version is not None, "a server knows it from the frame that opened the stream"
        self.streamID = streamID
        self._session = session
        self._sender = sender
        self._version = version
        self._protocol: IProtocol  # from makeConnection on

        self._output = ByteQueue()
        self._sendWindow = SendWindow(version)
        self._producer: Any = None  # IPushProducer or IPullProducer, as it said when it was registered
        self._streaming = True
        self._producerPaused = False
        self._ending = False  # FIN is to follow what is queued
        self._closing = False  # loseConnection was called: nothing more is handed to the protocol
        self._ended = False  # FIN has been sent

        self._unread = ByteQueue()
        self._receiveWindow = ReceiveWindow(version, streamBuffer)
        self._paused = False
        self._delivering = False  # _deliver will be called at the end of this turn
        self.remoteEnded = False  # FIN has come: no data may follow
        self._remoteClosed = False  # and the mark after it
        self._remoteAborted = False  # the mark has come before it
        self._readLost = False  # the protocol knows that FIN has come

        self._grace: IDelayedCall | None = None
        self._lagging = False  # only our FIN is left to send, FIN_LAG after the data
        self._shortfall = False  # data that was written had to be dropped
        self._alone = False  # the session is over, but the protocol has still to take the rest
        self._reason: Failure | None = None  # why this stream is over, once it is

    # ITransport

    @property
    def disconnecting(self) -> bool:
        """Whether ``loseConnection`` was called: some of Twisted's own protocols ask."""
        return self._closing

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"only bytes can be written, not {type(data).__name__}")
        if not self._writable():
            self._shortfall = self._shortfall or self._remoteClosed
            return
        if data:
            self._output.append(data)
            self._sender.ready(self)
        if self._output.length >= SEND_HIGH_WATER:
            self._pauseProducer()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self._reason is not None or self._closing:
            return
        self._closing = self._ending = True
        self._discardUnread()
        if self._alone:
            self._finish(self._closeReason())
            return
        if self.remoteEnded:
            self._startGrace()
        self._sender.ready(self)

    def loseWriteConnection(self) -> None:
        if self._reason is None and not self._ending:
            self._ending = True
            self._sender.ready(self)

    def abortConnection(self) -> None:
        if self._reason is not None:
            return
        if not (self.remoteEnded and self._ended) and self._session.marksClosed:
            self._sender.urgent(encodeHeader(self._version, NOP, self.streamID))
        self._endAtOnce()
        self._finish(Failure(ConnectionAborted()))

    def getPeer(self) -> IAddress:
        return self._session.transport.getPeer()

    def getHost(self) -> IAddress:
        return self._session.transport.getHost()

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError(f"a producer is registered already with stream {self.streamID}")
        if not self._writable():
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producerPaused = False
        if not streaming:
            self._producer.resumeProducing()
        elif self._output.length >= SEND_HIGH_WATER:
            self._pauseProducer()

    def unregisterProducer(self) -> None:
        self._producer = None
        if self._ending:
            self._sender.ready(self)

    def _pauseProducer(self) -> None:
        if self._producer is not None and self._streaming and not self._producerPaused:
            self._producerPaused = True
            self._producer.pauseProducing()

    def _resumeProducer(self) -> None:
        if self._wantsMore():
            self._producerPaused = False
            self._guarded(self._producer.resumeProducing)

    def _wantsMore(self) -> bool:
        if self._producer is None:
            return False
        if self._streaming:
            return self._producerPaused and self._output.length <= SEND_LOW_WATER
        return not self._output.length

    # IPushProducer

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        if (self._unread.length or self.remoteEnded) and not self._delivering and self._reason is None:
            self._delivering = True
            self._sender.soon(self._deliver)

    def stopProducing(self) -> None:
        self.loseConnection()

    # for the session: sending

    @property
    def queued(self) -> int:
        """Bytes written that no frame has taken yet."""
        return self._output.length

    @property
    def sendable(self) -> bool:
        """Whether ``takeFrame`` would do anything now."""
        return self._sendWindow.credit > 0 if self._output.length else self._endDue()

    def takeFrame(self, parts: list[BytesLike]) -> int:
        """Append this stream's next frame to ``parts``; return its bytes."""
        size = min(self._output.length, self._session.frameSize, self._sendWindow.credit)
        added = 0
        if size > 0:
            parts.append(encodeHeader(self._version, PSH, self.streamID, size))
            parts.extend(self._output.take(size))
            added = HEADER_SIZE + size
            self._sendWindow.sent(size)
            if self._wantsMore():
                self._sender.soon(self._resumeProducer)
        if not self._output.length and self._endDue():
            added += self._takeEnd(parts)
        return added

    def encodeUpdate(self) -> bytes:
        """The UPD frame that is due."""
        consumed, window = self._receiveWindow.report()
        return encodeUpdate(self.streamID, consumed, window)

    def _writable(self) -> bool:
        if self._reason is not None or self._ended or self._remoteClosed:
            return False
        return not self._ending or self._producer is not None

    def _endDue(self) -> bool:
        if self._reason is not None or self._lagging or self._producer is not None:
            return False
        return self._closing or (self._ending and not self._ended)

    def _takeEnd(self, parts: list[BytesLike]) -> int:
        if not self._ended and self._readsBehind():
            self._lagging = True
            self._startGrace()
            return 0
        before = len(parts)
        if not self._ended:
            self._ended = True
            parts.append(encodeHeader(self._version, FIN, self.streamID))
        if self._closing and not self.remoteEnded and self._session.marksClosed:
            parts.append(encodeHeader(self._version, NOP, self.streamID))
        if self._closing or self._readLost:
            self._finish(Failure(ConnectionDone()))
        return HEADER_SIZE * (len(parts) - before)

    def _readsBehind(self) -> bool:
        """Whether a FIN now could make a Go peer throw away what it has not read yet."""
        unknowing = self.remoteEnded and not self._session.peerAnnounced
        return unknowing and self._sendWindow.outstanding > 0

    # for the session: what has arrived

    def makeConnection(self, protocol: IProtocol) -> None:
        self._protocol = protocol
        self._guarded(protocol.makeConnection, self)

    def updated(self, consumed: int, window: int) -> bool:
        """An UPD has arrived.  Returns False where it cannot be true."""
        if not self._sendWindow.updated(consumed, window):
            return False
        if self._lagging and not self._sendWindow.outstanding:
            self._lagging = False
        elif self._grace is not None and not self._lagging:
            self._grace.reset(PEER_FIN_GRACE)
        self._sender.ready(self)
        return True

    def ended(self) -> None:
        """FIN has arrived; ``arrived`` follows, with what came before it."""
        self.remoteEnded = True

    def closed(self) -> None:
        """The mark has arrived; ``arrived`` follows, with what came before it."""
        if self.remoteEnded:
            self._remoteClosed = True
        else:
            self._remoteAborted = True

    def arrived(self, payloads: list[memoryview]) -> bool:
        """Take in the payloads that one delivery has brought, possibly none.  Returns False where
        they are more than the peer's window allows."""
        if self._reason is not None:
            return True
        if payloads:
            data = b"".join(payloads)
            if self._unread.length + len(data) > self._receiveWindow.limit + WINDOW_SLACK:
                return False
            if self._closing:
                self._consumed(len(data))
            elif self._paused or self._unread.length:
                self._unread.append(data)
                self._session.unreadChanged(len(data))
            else:
                self._hand(data)
        self._settle()
        return True

    def sessionLost(self, reason: Failure) -> bool:
        """The session is over, and so is this stream; but where both directions have ended, its protocol
        still gets what it has not taken yet.  Returns whether it is lost."""
        self._alone = self.remoteEnded and (self._ended or self._remoteClosed)
        if self._reason is None and not self._alone:
            self._finish(reason)
        return not self._alone

    # handing over

    def _hand(self, data: bytes) -> None:
        self._consumed(len(data))
        self._guarded(self._protocol.dataReceived, data)

    def _consumed(self, count: int) -> None:
        if self._receiveWindow.consumed(count) and not self.remoteEnded:
            self._sender.updateDue(self)

    def _deliver(self) -> None:
        """Hand over what has waited while the protocol was paused."""
        self._delivering = False
        while self._unread.length and not self._paused:
            data = b"".join(self._unread.take(DELIVERY_SIZE))
            self._session.unreadChanged(-len(data))
            self._hand(data)
        self._settle()

    def _discardUnread(self) -> None:
        count = self._unread.length
        if count:
            self._unread.clear()
            self._session.unreadChanged(-count)
            self._consumed(count)

    def _settle(self) -> None:
        """Act on what the peer has ended, as far as the protocol has been given all before it."""
        if self._reason is not None:
            return
        if self._remoteAborted:
            self._finish(Failure(self._abortReason()))
            return
        if self._remoteClosed:
            self._dropOutput()
        if not self.remoteEnded or self._unread.length:
            return
        if not self._closing:
            if self._paused:
                return
            self._tellReadLost()
            if self._reason is not None:
                return
        if self._remoteClosed or (self._ended and self._readLost):
            self._finish(self._closeReason())
        else:
            self._startGrace()

    def _tellReadLost(self) -> None:
        if self._readLost:
            return
        self._readLost = True
        halfCloseable = IHalfCloseableProtocol(self._protocol, None)
        if halfCloseable is not None:
            self._guarded(halfCloseable.readConnectionLost)
        else:
            self._stopProducer()
            self.loseConnection()

    def _guarded(self, call: Callable[..., object], *arguments: object) -> None:
        """Call the application; what it raises ends this stream and nothing else."""
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001 - an application must not stop the session
            failure = Failure()
            self._log.failure("Stream {id} aborted: its protocol raised", failure, id=self.streamID)
            self.abortConnection()

    # the end

    def _startGrace(self) -> None:
        """Bound the time for which our direction outlives that of a peer that may have closed."""
        if self._session.peerAnnounced:
            return
        delay = FIN_LAG if self._lagging else PEER_FIN_GRACE
        if self._grace is None:
            self._grace = self._session.clock.callLater(delay, self._graceOver)
        elif self._lagging:
            self._grace.reset(delay)

    def _graceOver(self) -> None:
        self._grace = None
        self._dropOutput()
        self._endAtOnce()
        if self._closing:
            self._finish(self._closeReason())
        else:
            self._settle()

    def _endAtOnce(self) -> None:
        if not self._ended:
            self._ended = True
            self._sender.urgent(encodeHeader(self._version, FIN, self.streamID))

    def _dropOutput(self) -> None:
        if self._output.length:
            self._shortfall = True
            self._output.clear()

    def _closeReason(self) -> Failure:
        if self._shortfall:
            return Failure(PeerAborted("the peer closed before it had read everything"))
        return Failure(ConnectionDone())

    def _abortReason(self) -> Exception:
        if self._session.peerCuts:
            return PeerClosedDown("the peer closes down, and cut the stream")
        return PeerAborted("the peer aborted the stream")

    def _finish(self, reason: Failure) -> None:
        """Leave no trace in the session; the protocol is told at the end of the turn."""
        self._reason = reason
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._output.clear()
        if self._unread.length:
            self._session.unreadChanged(-self._unread.length)
            self._unread.clear()
        self._session.forget(self, reason.check(ConnectionDone) is not None)
        self._sender.soon(self._tellLost)

    def _stopProducer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            self._guarded(producer.stopProducing)

    def _tellLost(self) -> None:
        self._stopProducer()
        self._guarded(self._protocol.connectionLost, self._reason)
