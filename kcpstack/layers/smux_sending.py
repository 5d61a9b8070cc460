"""What leaves a smux session, and in which order.

Short frames that others wait for (SYN, UPD, NOP, and the end of an aborted stream) overtake queued
data.  Then streams take turns, one PSH frame a turn, a FIN after all data of its stream; so one
big stream cannot hold up the others.  Frames are made only when the session takes them: what a
stream has queued when it is aborted is never sent.

Nothing is written in the middle of somebody's call.  The first thing to send asks for a call at
the end of the reactor's turn (kcpstack/schedule.py), which comes before the
network is waited for again.  So whatever all streams write in one turn shares few writes to the session (one
snappy chunk, full KCP segments), at no cost in latency.  When the session's buffer has drained it
calls ``resumeProducing`` and gets more at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from kcpstack.batch import BytesLike
from kcpstack.interfaces import ISessionTransport
from kcpstack.layers.smux_frames import HEADER_SIZE
from kcpstack.layers.smux_ledger import Frames, Ledger
from kcpstack.schedule import Schedule

__all__ = ["FrameSender", "Source"]

# Bytes given to the session at once, up to the end of the frame that reaches them: what we overshoot a
# pause by, and what becomes one snappy chunk.  The peer can restore nothing of a chunk before its last
# byte: on a path of 4 KB/s, 64 KiB at once are silence enough to be taken for a dead peer.
WRITE_SIZE = 16384


class Source(Protocol):
    """A stream, as far as it sends."""

    @property
    def queued(self) -> int:
        """Bytes of data that wait for a frame."""

    @property
    def sendable(self) -> bool:
        """Whether a turn would bring anything."""

    def takeFrame(self, parts: list[BytesLike]) -> int:
        """Append the next frame to ``parts``; return its bytes."""

    def encodeUpdate(self) -> bytes:
        """The UPD frame that is due."""


@implementer(IPushProducer)
class FrameSender:
    """The sending half of one session, and the calls it makes at the end of a turn.

    Streams are told apart by identity.  With a ``ledger`` every write is entered there.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._transport: ISessionTransport | None = None
        self._paused = False
        self._pumping = False
        self._losing = False
        self._turn = False  # we are called at the end of this one
        self._calls: list[Callable[[], None]] = []
        self._urgent: list[BytesLike] = []
        self._updates: dict[Source, None] = {}
        self._ready: OrderedDict[Source, None] = OrderedDict()
        self.urgentBytes = 0
        self.ledger: Ledger | None = None

    # what is to be sent

    def start(self, transport: ISessionTransport) -> None:
        """Begin to write to ``transport``."""
        self._transport = transport
        transport.registerProducer(self, True)

    def urgent(self, frame: bytes) -> None:
        """Send a frame before all data, in the order of these calls."""
        self._urgent.append(frame)
        self.urgentBytes += len(frame)
        self._ask()

    def ready(self, stream: Source) -> None:
        """Give ``stream`` its turns if it has anything to send."""
        if stream.sendable:
            self._ready[stream] = None
            self._ask()

    def updateDue(self, stream: Source) -> None:
        """Send one UPD for ``stream``, made when it leaves."""
        self._updates[stream] = None
        self._ask()

    def forget(self, stream: Source) -> None:
        self._ready.pop(stream, None)
        self._updates.pop(stream, None)

    def soon(self, call: Callable[[], None]) -> None:
        """Call this at the end of the turn, before anything is written then."""
        self._calls.append(call)
        self._ask()

    @property
    def blocked(self) -> bool:
        """Whether the session takes nothing just now."""
        return self._paused

    def loseConnection(self) -> None:
        """Close the session's transport once all that is queued has been written to it."""
        self._losing = True
        self._ask()

    def flush(self) -> None:
        """End the turn now: make the calls that are due, and write what the session takes."""
        if self._turn:
            self._forgetTurn()
            self._turnOver()

    def stop(self) -> None:
        """Write nothing more.  Calls that are due are made at once."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.unregisterProducer()
        self._urgent.clear()
        self._updates.clear()
        self._ready.clear()
        self._forgetTurn()
        while self._calls:
            self._makeCalls()

    # IPushProducer, for the session's transport

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:
        self._paused = True

    # the end of a turn

    def due(self, now: float) -> None:
        """The turn is over: the schedule's call."""
        self._turnOver()

    def _ask(self) -> None:
        if not self._turn:
            self._turn = True
            self._schedule.soon(self)

    def _forgetTurn(self) -> None:
        if self._turn:
            self._turn = False
            self._schedule.forget(self)

    def _turnOver(self) -> None:
        self._turn = False
        self._makeCalls()
        self._pump()

    def _makeCalls(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    def _pump(self) -> None:
        """Write until the transport pauses us or there is nothing left."""
        if self._pumping:
            return  # the transport resumed us from within write(): the loop below goes on
        self._pumping = True
        try:
            while not self._paused and self._transport is not None:
                frames: Frames = []
                parts = self._gather(frames)
                if not parts:
                    self._loseIfAsked()
                    return
                self._write(self._transport, b"".join(parts), frames)
        finally:
            self._pumping = False

    def _write(self, transport: ISessionTransport, data: bytes, frames: Frames) -> None:
        if self.ledger is None:
            transport.write(data)
            return
        self.ledger.begin()
        transport.write(data)
        self.ledger.wrote(len(data), frames)

    def _gather(self, frames: Frames) -> list[BytesLike]:
        """The next frames, WRITE_SIZE bytes of them if there are so many, in pieces; those with data are
        noted in ``frames``."""
        parts = self._urgent
        size = self.urgentBytes
        self._urgent = []
        self.urgentBytes = 0
        for stream in self._updates:
            parts.append(stream.encodeUpdate())
            size += len(parts[-1])
        self._updates.clear()
        ready = self._ready
        while ready and size < WRITE_SIZE:
            stream, _ = ready.popitem(last=False)
            queued = stream.queued
            begin = size + HEADER_SIZE
            size += stream.takeFrame(parts)
            payload = queued - stream.queued
            if payload:
                frames.append((begin + payload, payload))
            if stream.sendable:
                ready[stream] = None
        return parts

    def _loseIfAsked(self) -> None:
        transport = self._transport
        if self._losing and not self._calls and transport is not None:
            self._transport = None
            transport.unregisterProducer()
            transport.loseConnection()
