"""The applications of a random world: each knows what it should hear, whoever speaks to it.

What an application writes begins with its number, so that whoever hears it knows at once which bytes must
follow: streams may be dealt over several sessions, wait, fail, and reach another server than the first.
"""

from __future__ import annotations

import random
import struct
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from zope.interface import implementer

__all__ = ["ABORTS", "BUSY", "ENDS", "HANGS_UP", "LAST", "SLOW", "STALLING", "Application", "payload"]

# How an application goes about it: pauses between steps, in seconds, and pieces, in bytes.
BUSY = ((0, 0, 0.001, 0.02, 0.3), (1, 100, 1300, 5000, 20_000))
SLOW = ((0.02, 0.3, 2.0), (1, 100, 1300))
STALLING = ((0.02, 0.3, 0.3, 9.0, 40.0), (100, 5000, 20_000))

# What an application does in the end.
ENDS = "ends"  # its direction, when all is written, and hears out the other
HANGS_UP = "hangs up"  # when all is written, whatever the other still has to say
ABORTS = "aborts"  # anywhere

NUMBER = struct.Struct(">I")
LAST = 1_000  # streams from this one on are opened when all that was wanted is over
AGAIN = 1 << 8  # applications that can answer one stream, one after the other


def payload(seed: int, name: str, length: int) -> bytes:
    """The bytes that one application writes: different for each, some of them easy to compress."""
    rng = random.Random(f"{seed} {name}")
    if rng.random() < 0.7:
        return rng.randbytes(length)
    return (rng.randbytes(50) * (length // 50 + 1))[:length]


@implementer(IHalfCloseableProtocol)
class Application(Protocol):
    """Writes its bytes in pieces, now and then; reads, now and then; and ends as its ``manner`` says.

    Whatever happens: it hears what another one wrote, from the beginning, once and in order, and an end only
    where that was all; it is told once that the stream is over, and that it is over cleanly only after such
    an end.  ``world`` has a ``clock``, a ``seed``, ``isHeavy`` (do readers stop most of the time?), ``connected(application)``, which calls ``become`` unless that was
    done before, and ``meet(application, number)``, which finds who wrote that number and is called once for each."""

    def __init__(self, world: Any, end: str) -> None:
        self.world = world
        self.end = end
        self.stream = self.number = -1
        self.answers = 0  # applications that have answered it
        self.manner = ENDS
        self.whole = b""
        self.written = 0
        self.peer: Application | None = None
        self.relayedStream: Any = None  # which it answers, where a relay stands between
        self.received = 0
        self.wasPaused = False
        self.heardEnd = False
        self.connectedAt: float | None = None
        self.lost: Any = None  # or why there never was a stream
        self._timer: Any = None
        self._begun = b""  # less than a number
        self._ended = False

    def become(
        self, stream: int, again: int, length: int, manner: str = ENDS, pace: tuple[Any, Any] = BUSY
    ) -> None:
        """Be that of this ``stream``, the one that answers it for the ``again``-th time."""
        self.stream = stream
        self.number = (stream * AGAIN + again) * 2 + (self.end == "server")
        self.manner = manner
        self.pauses, self.pieces = pace
        name = f"{self.end} {stream} {again}"
        self.rng = random.Random(f"{self.world.seed} {name} steps")
        self.whole = NUMBER.pack(self.number) + payload(self.world.seed, name, length)
        self._endsApart = self.rng.random() < 0.5  # not in the turn in which it writes the last
        self._lag = self.rng.choice((0, 0, 3, 10))  # steps that it goes on reading now and then, after its end

    def __str__(self) -> str:
        return f"{self.end} {self.stream}"

    @property
    def isClean(self) -> bool:
        """Whether it was told that the stream is over, and that nothing went wrong."""
        return self.lost is not None and bool(self.lost.check(ConnectionDone))

    @property
    def isComplete(self) -> bool:
        """Whether it has all of its peer's bytes."""
        return self.peer is not None and self.received == len(self.peer.whole)

    def connectionMade(self) -> None:
        self.connectedAt = self.world.clock.seconds()
        self.world.connected(self)
        self._later()

    def _later(self) -> None:
        self._timer = self.world.clock.callLater(self.rng.choice(self.pauses), self._step)

    def _step(self) -> None:
        """Write some, pause or go on reading, or end."""
        if self.manner == ABORTS and self.rng.random() < 0.1:
            self.transport.abortConnection()
            return
        self._pauseOrResume()
        size = self.rng.choice(self.pieces)
        piece = self.whole[self.written : self.written + size]
        if piece:
            self.written += len(piece)
            self.transport.write(piece)
        if self.written < len(self.whole) or self.manner == ABORTS or (piece and self._endsApart):
            self._later()
        elif self.manner == HANGS_UP:
            self.transport.loseConnection()
        else:
            self._endDirection()

    def _pauseOrResume(self) -> None:
        if self.wasPaused:
            self.wasPaused = False
            self.transport.resumeProducing()
        if self.rng.random() < (0.8 if self.world.isHeavy else 0.2):
            self.wasPaused = True
            self.transport.pauseProducing()

    def _endDirection(self) -> None:
        if not self._ended:
            self._ended = True
            self.transport.loseWriteConnection()
        if self._lag or self.wasPaused:
            self._lag = max(0, self._lag - 1)
            self._later()

    def dataReceived(self, data: bytes) -> None:
        assert data and self.lost is None and not self.heardEnd, f"{self}: data after the end"
        assert not self.wasPaused, f"{self}: data while paused"
        if self.peer is None:
            data = self._begun = self._begun + data
            if len(data) < NUMBER.size:
                return
            self.peer = self.world.meet(self, *NUMBER.unpack_from(data))
        expected = self.peer.whole[self.received : self.received + len(data)]
        assert data == expected, f"{self}: wrong bytes at {self.received}, of {self.peer}"
        self.received += len(data)

    def readConnectionLost(self) -> None:
        assert not self.heardEnd and self.lost is None, f"{self}: a second end"
        assert self.isComplete, f"{self}: ended after {self.received} bytes of {self.peer}"
        self.heardEnd = True

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        assert self.lost is None, f"{self}: lost twice"
        self.lost = reason
        if self._timer.active():
            self._timer.cancel()
        assert not self.isClean or self.heardEnd or self.manner == HANGS_UP, f"{self}: lost cleanly before the end"

    def failed(self, reason: Any) -> None:
        """There never was a stream."""
        assert self.connectedAt is None, f"{self}: failed after it was connected: {reason.getErrorMessage()}"
        assert self.lost is None, f"{self}: failed twice"
        self.lost = reason
