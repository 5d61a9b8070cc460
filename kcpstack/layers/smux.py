"""smux: many streams in one session (docs/wire: "smux"; versions 1 and 2).

A SmuxSession is an IProtocol on an ISessionTransport, and each of its streams (smux_stream.py) is
the transport of a protocol of its own.  Beside it: smux_frames.py is the codec, smux_flow.py the
windows, smux_sending.py the order in which frames leave, smux_ledger.py what of them is acknowledged.

Two ends of our kind find each other: a client begins with a NOP for stream ANNOUNCE_ID, and a
server that has heard it answers with the same.  Go peers ignore both, and get none from our
server, because none asked.  Then each knows what the other means by FIN: see smux_stream.py.

An end that takes no more streams says so with a NOP for LEAVE_ID, and an announced peer says the
same: from then on neither opens any, and nobody waits for a stream that nobody heard of.  Said once more, it
means that all streams are cut now.  When
there is no stream left, whoever asked first goes, with a last NOP that acknowledges what it has; the other
stays for LEAVE_PATIENCE to acknowledge that.

What bounds memory: a version 2 peer may have streamBuffer unread on each stream, and breaking that
ends the session; when more than sessionBuffer is unread on all streams together, the session's transport
is paused (the only limit of version 1, so that there one slow stream stops all), plus what one
delivery brings.  Streams are at most MAX_STREAMS, frames that overtake data at most URGENT_LIMIT.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IReactorTime, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.addresses import shown
from kcpstack.counters import Counters
from kcpstack.errors import PeerBrokeProtocol, PeerRestarted, PeerSilent
from kcpstack.interfaces import IARQ, ISessionTransport
from kcpstack.layers.smux_frames import FIN, NOP, PSH, SYN, UPD, FrameDecoder, decodeUpdate, encodeHeader
from kcpstack.layers.smux_ledger import Ledger
from kcpstack.layers.smux_sending import FrameSender
from kcpstack.layers.smux_stream import SmuxStream
from kcpstack.schedule import Schedule

__all__ = ["SmuxSession", "ANNOUNCE_ID", "KEEPALIVE_TIMEOUT", "LEAVE_ID", "LEAVE_PATIENCE", "MAX_STREAMS"]

ANNOUNCE_ID = 0x6B637074  # "tpck" on the wire; even, and kcptun's streams have odd numbers
LEAVE_ID = 0x6B637078  # "xpck"; even as well
FIRST_STREAM = 3
LAST_STREAM = 0xFFFFFFFF
KEEPALIVE_TIMEOUT = 30.0  # seconds of silence; kcptun's own value
TIMER_GRID = 0.125  # seconds; keepalives of many sessions share a wake-up, and none comes later by more
LEAVE_PATIENCE = 3.0  # seconds for a peer to answer that we leave, or to have its last data acknowledged
MAX_STREAMS = 65536  # a session's share of what one process can have open
URGENT_LIMIT = 16 * MAX_STREAMS  # bytes; one FIN and mark for each stream there can be


@implementer(IProtocol)
class SmuxSession:
    """One end of a session.

    A peer that breaks the protocol ends the session (MuxErrs, one log line), and so does one that
    is not heard for KEEPALIVE_TIMEOUT although we are reading: the transport is aborted and every
    stream's protocol gets ``connectionLost`` with a reason of kcpstack.errors, whose text says more.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        counters: Counters,
        *,
        version: int | None,
        frameSize: int,
        streamBuffer: int,
        sessionBuffer: int,
        keepalive: float,
        streamFactory: IProtocolFactory | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        """``counters`` are the process's.  ``schedule`` is best that of the session below, so that what is written at the end
        of a turn leaves in the same turn; None: one of our own.  ``version`` is 1 or 2; on a
        server None takes the version of the peer's first frame.  In bytes: ``frameSize``, the
        payload of our PSH frames, from 1 to MAX_PAYLOAD; ``streamBuffer``, our window for each
        stream (version 2); ``sessionBuffer``, unread on all streams.  ``keepalive`` is in seconds,
        above 0.

        With a ``streamFactory`` this is the server's end: it gives a protocol
        for each stream that the peer opens, or None to refuse it.  Without, it is the client's."""
        self.clock = clock
        self.frameSize = frameSize
        self.peerAnnounced = False
        self.transport: ISessionTransport  # from makeConnection on
        self._counters = counters
        self._streamBuffer = streamBuffer
        self._sessionBuffer = sessionBuffer
        self._keepalive = keepalive
        self._streamFactory = streamFactory
        self._decoder = FrameDecoder(version)
        self._schedule = schedule if schedule is not None else Schedule(clock)
        self._sender = FrameSender(self._schedule)
        self._streams: dict[int, SmuxStream] = {}
        self._nextID = FIRST_STREAM
        self._up = False
        self._losing = False
        self._leaving = False  # the peer has been told that no more streams are taken
        self._asked = False  # before it told us
        self._peerLeaving = False  # and has told us
        self.peerCuts = False  # the peer has ended all streams, rather than one
        self._leaveHeard: Callable[[], None] | None = None
        self._leaveTimer: IDelayedCall | None = None
        self.failure: Failure | None = None  # why it ended
        self.streamsLost = 0  # that the session's end took with it
        self._bytesLost = 0  # that were queued on them
        self._unread = 0  # bytes that wait for paused protocols, all streams
        self._readingPaused = False
        self._heard = 0.0  # when anything last arrived, in the clock's seconds
        self._nextNOP = 0.0

    # for the application

    @property
    def isClient(self) -> bool:
        """Whether this is the end that opens streams."""
        return self._streamFactory is None

    @property
    def version(self) -> int | None:
        """The version spoken, or None while it is not known."""
        return self._decoder.version

    @property
    def streamCount(self) -> int:
        """How many streams there are, with those that still have something to send."""
        return len(self._streams)

    @property
    def unacknowledged(self) -> int:
        """Bytes written to streams that the peer is not known to have, those of ended streams included.
        Without ``keepLedger``, only those not yet handed to the session."""
        queued = sum(stream.queued for stream in self._streams.values()) + self._bytesLost
        return queued + (self._sender.ledger.unacknowledged() if self._sender.ledger is not None else 0)

    @property
    def owes(self) -> bool:
        """Whether the peer is not known to have all of the streams that were closed here (with ``keepLedger``)."""
        ledger = self._sender.ledger
        closing = any(stream.disconnecting for stream in self._streams.values())
        return closing or (ledger is not None and ledger.markOutstanding)

    @property
    def unread(self) -> int:
        """Bytes that have arrived and wait for paused protocols."""
        return self._unread

    @property
    def connected(self) -> bool:
        """Whether ``openStream`` can be called."""
        return self._up and not self._losing and self._nextID <= LAST_STREAM

    def openStream(self, protocol: IProtocol) -> SmuxStream:
        """Open a stream (clients only) and connect ``protocol`` to it; return the stream.

        smux has no answer to an open: a peer that refuses ends the stream.  Raises ConnectionLost
        where the session is not ``connected``."""
        if not self.connected:
            raise ConnectionLost("the session has ended or has no stream numbers left")
        streamID = self._nextID
        self._nextID += 2
        self._sendUrgent(SYN, streamID)
        return self._addStream(streamID, protocol)

    def loseConnection(self) -> None:
        """Close every stream once its data is written, then the session.  No time limit: that is
        the caller's."""
        if self._up:
            self._losing = True
            for stream in list(self._streams.values()):
                stream.loseConnection()
            self._loseIfEmpty()

    def retire(self) -> None:
        """Take no more streams, tell the peer, and end the session when those that there are have
        ended.  A stream that the peer opens is refused."""
        self._losing = True
        self._sayLeave()
        self._loseIfEmpty()

    def cut(self, spareClosed: bool = False) -> None:
        """Abort all streams now, or those that nobody has closed, and end the session once the peer has been told
        and the others have ended.  No time limit: that is the caller's."""
        self._losing = True
        self._sayLeave()
        streams = [stream for stream in self._streams.values() if not (spareClosed and stream.disconnecting)]
        if self._leaving and streams:
            self._sendUrgent(NOP, LEAVE_ID)
        for stream in streams:
            stream.abortConnection()
        if spareClosed:
            self._loseIfEmpty()
        else:
            self._lose()

    def flush(self) -> None:
        """Hand to the session now what it takes, rather than at the end of the turn."""
        self._sender.flush()

    def keepLedger(self, arq: IARQ) -> None:
        """Know what is ``unacknowledged``.  ``arq`` is the session's."""
        self._sender.ledger = Ledger(arq)

    def watch(self, leaveHeard: Callable[[], None]) -> None:
        """Call ``leaveHeard()`` when the peer says that it takes no more streams."""
        self._leaveHeard = leaveHeard

    def abortConnection(self) -> None:
        """End the session and all streams now.  Their ``connectionLost`` is called before this
        returns."""
        for stream in list(self._streams.values()):
            stream.abortConnection()
        self._end(Failure(ConnectionLost("the session was aborted")))
        self.transport.abortConnection()

    # IProtocol

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = cast(ISessionTransport, transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        self._up = True
        self._heard = self.clock.seconds()
        self._nextNOP = self._heard + self._keepalive
        self._setTimer()
        self._sender.start(self.transport)
        if self.isClient:
            self._sendUrgent(NOP, ANNOUNCE_ID)

    def dataReceived(self, data: bytes) -> None:
        if not self._up:
            return
        self._heard = self.clock.seconds()
        touched: dict[SmuxStream, list[memoryview]] = {}
        for command, streamID, payload in self._decoder.feed(data):
            if command == PSH:
                stream = self._streams.get(streamID)
                if stream is None or stream.remoteEnded:
                    self._counters.UnknownStreams += 1
                elif payload:
                    touched.setdefault(stream, []).append(payload)
            else:
                self._controlReceived(command, streamID, payload, touched)
        for stream, payloads in touched.items():
            if not stream.arrived(payloads):
                self._violated(f"more data on stream {stream.streamID} than its window allows")
        if self._decoder.error is not None:
            self._violated(self._decoder.error)
        elif self._sender.urgentBytes > URGENT_LIMIT:
            self._violated("the peer asks for more answers than it takes")
        elif self._up and self._unread > self._sessionBuffer and not self._readingPaused:
            self._readingPaused = True
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure) -> None:
        if self._streams and reason.check(ConnectionDone):
            # Clean for the session, not for streams that were in the middle of something.
            reason = Failure(PeerRestarted("the session ended before its streams"))
        self._end(reason)

    # frames that have arrived

    def _controlReceived(
        self, command: int, streamID: int, payload: memoryview, touched: dict[SmuxStream, list[memoryview]]
    ) -> None:
        if command == SYN:
            self._openReceived(streamID)
            return
        if command == NOP and streamID == ANNOUNCE_ID:
            self._announceReceived()
            return
        if command == NOP and streamID == LEAVE_ID:
            self._leaveReceived()
            return
        stream = self._streams.get(streamID)
        if stream is None:
            return  # it has just been closed here, or the NOP is for nobody
        if command == UPD:
            if not stream.updated(*decodeUpdate(payload)):
                self._violated(f"more of stream {streamID} consumed than was sent")
        elif command == FIN:
            stream.ended()
            touched.setdefault(stream, [])
        elif self.peerAnnounced:
            stream.closed()
            touched.setdefault(stream, [])

    def _openReceived(self, streamID: int) -> None:
        if streamID in self._streams:
            return
        protocol = None
        factory = self._streamFactory
        if factory is None or streamID % 2 == 0:
            self._counters.MuxErrs += 1
        elif self._up and not self._losing and len(self._streams) < MAX_STREAMS:
            protocol = self._buildProtocol(factory)
        if protocol is not None:
            self._addStream(streamID, protocol)
            return
        if self.peerAnnounced:
            self._sendUrgent(NOP, streamID)
        self._sendUrgent(FIN, streamID)

    def _buildProtocol(self, factory: IProtocolFactory) -> IProtocol | None:
        try:
            return factory.buildProtocol(self.transport.getPeer())
        except Exception:  # noqa: BLE001 - an application must not stop the session
            self._log.failure("Stream refused: no protocol could be made for it")
            return None

    def _announceReceived(self) -> None:
        if not self.peerAnnounced:
            self.peerAnnounced = True
            if not self.isClient:
                self._sendUrgent(NOP, ANNOUNCE_ID)

    def _leaveReceived(self) -> None:
        self.peerCuts = self._peerLeaving
        if self._peerLeaving or not self.peerAnnounced or not self._up:
            return
        self._peerLeaving = True
        news = not self._losing
        self.retire()
        if news and self._leaveHeard is not None:
            self._leaveHeard()

    def _sendUrgent(self, command: int, streamID: int) -> None:
        version = self._decoder.version
        if self._up and version is not None:  # a server knows it before it has anything to say
            self._sender.urgent(encodeHeader(version, command, streamID))

    def _violated(self, text: str) -> None:
        if self._up:
            self._counters.MuxErrs += 1
            self._fail(PeerBrokeProtocol(text))

    # for the streams

    @property
    def marksClosed(self) -> bool:
        """Whether a full close is marked: unless the peer is known not to be of our kind.  Only a
        client can be in doubt, until its announcement has been answered."""
        return self.isClient or self.peerAnnounced

    def unreadChanged(self, count: int) -> None:
        """``count`` more bytes (or fewer, below 0) wait for paused protocols."""
        self._unread += count
        if self._readingPaused and self._unread <= self._sessionBuffer // 2:
            # Not from here: the transport may deliver at once, before what we are handing over now.
            self._sender.soon(self._resumeReading)

    def forget(self, stream: SmuxStream, complete: bool) -> None:
        """The stream is over.  ``complete``: what was written to it counts until the peer has it."""
        self._sender.forget(stream)
        if complete and self._sender.ledger is not None:
            self._sender.ledger.mark()
        if self._streams.pop(stream.streamID, None) is not None:
            self._loseIfEmpty()

    def _addStream(self, streamID: int, protocol: IProtocol) -> SmuxStream:
        stream = SmuxStream(self, self._sender, streamID, self._streamBuffer)
        self._streams[streamID] = stream
        stream.makeConnection(protocol)
        return stream

    def _resumeReading(self) -> None:
        if self._up and self._readingPaused and self._unread <= self._sessionBuffer // 2:
            self._readingPaused = False
            self._heard = self.clock.seconds()
            self._setTimer()
            self.transport.resumeProducing()

    # keepalive

    def _setTimer(self) -> None:
        """One time for the next NOP and for the end of patience, whichever comes first."""
        due = self._nextNOP
        if not self._readingPaused:
            due = min(due, self._heard + KEEPALIVE_TIMEOUT)
        # Above 0 from now, so that rounding cannot make it come for ever; and when those of other sessions come as well.
        due = max(due, self.clock.seconds() + 0.001)
        self._schedule.at(self, math.ceil(due / TIMER_GRID) * TIMER_GRID * 1000)

    def due(self, now: float) -> None:
        """Its time has come: the schedule's call."""
        seconds = self.clock.seconds()
        if seconds - self._heard >= KEEPALIVE_TIMEOUT and not self._readingPaused:
            self._fail(PeerSilent(f"nothing heard for {KEEPALIVE_TIMEOUT:.0f} s"))
            return
        if seconds >= self._nextNOP:
            self._nextNOP = seconds + self._keepalive
            if not self._sender.blocked and self.version is not None:
                self._sendUrgent(NOP, 0)
        self._setTimer()

    # the end

    def _sayLeave(self) -> None:
        if self._up and not self._leaving and self.marksClosed:
            self._leaving = True
            self._asked = not self._peerLeaving
            self._sendUrgent(NOP, LEAVE_ID)

    def _loseIfEmpty(self) -> None:
        if not self._losing or not self._up or self._streams:
            return
        if not self._leaving or not self.peerAnnounced:
            self._lose()
        elif self._asked and self._peerLeaving:
            self._sendUrgent(NOP, 0)
            self._lose()
        elif self._leaveTimer is None:
            self._leaveTimer = self.clock.callLater(LEAVE_PATIENCE, self._lose)

    def _lose(self) -> None:
        if self._up:
            self._sender.loseConnection()

    def _fail(self, reason: ConnectionLost) -> None:
        peer = shown(self.transport.getPeer())
        self._log.warn("Session with {peer} ended: {text}", peer=peer, text=" ".join(reason.args))
        self._end(Failure(reason))
        self.transport.abortConnection()

    def _end(self, reason: Failure) -> None:
        if not self._up:
            return
        self._up = False
        self.failure = reason
        self._schedule.forget(self)
        if self._leaveTimer is not None and self._leaveTimer.active():
            self._leaveTimer.cancel()
        self._leaveTimer = None
        streams = list(self._streams.values())
        self._bytesLost = sum(stream.queued for stream in streams)
        self._streams.clear()
        self.streamsLost = sum(stream.sessionLost(reason) for stream in streams)
        self._sender.stop()
