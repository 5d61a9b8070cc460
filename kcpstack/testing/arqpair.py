"""Two ends of one ARQ over a bad path, driven as IARQ says: for the suites, and for tests of your own.

Public as names of kcpstack/testing/arqs.py.  Time is a number here, and there is no chance in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.interfaces import IARQ, ICongestionControl
from kcpstack.testing.checks import check
from kcpstack.testing.impairment import PERFECT, Faults, Impairment, InFlight

__all__ = ["SLOT", "ARQPair", "RecordedWindow", "flushAll"]


def flushAll(arq: IARQ, now: float, most: int = 64) -> list[bytes]:
    """All datagrams that ``arq`` wants to send now, as copies."""
    sent: list[bytes] = []
    batch = outboundBatch(SLOT, 0)
    for _ in range(FLUSHES_MAX):
        more = arq.flush(now, batch, most)
        sent.extend(map(bytes, batch))
        batch.clear()
        if not more:
            return sent
    raise AssertionError(f"flush has still more to append after {FLUSHES_MAX} calls")


@implementer(ICongestionControl)
class RecordedWindow:
    """A congestion control with a window that does not move, and notes of what it was told."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.acknowledgedSegments = 0
        self.lostSegments = 0
        self.inFlightMost = 0
        self.times: list[float] = []

    def acknowledged(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl."""
        self.acknowledgedSegments += segments
        self._note(inFlight, now)

    def skipped(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl."""
        self.lostSegments += segments
        self._note(inFlight, now)

    def timedOut(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl."""
        self.lostSegments += segments
        self._note(inFlight, now)

    def _note(self, inFlight: int, now: float) -> None:
        self.inFlightMost = max(self.inFlightMost, inFlight)
        self.times.append(now)


class ARQPair:
    """Two ends of one conversation (0 and 1), driven as IARQ says, and a path each way with ``faults``.

    ``step`` goes on to whatever happens next.  After each of them, ``look`` (a callable, if given) is called with
    the pair.  What an end reads must be what the other wrote, from the beginning and once: else AssertionError."""

    def __init__(
        self,
        near: IARQ,
        far: IARQ,
        faults: Faults = PERFECT,
        seed: object = 0,
        look: Callable[[ARQPair], None] | None = None,
    ) -> None:
        self.ends: tuple[Any, Any] = (near, far)  # IARQ; a test knows when what may be None is not
        self.paths = (Impairment(seed, "0->1", faults), Impairment(seed, "1->0", faults))
        self.now = 0.0
        self.reading = [True, True]
        self.written = [bytearray(), bytearray()]
        self.received = [bytearray(), bytearray()]
        self.sent: tuple[list[bytes], list[bytes]] = ([], [])  # datagrams, ever
        self.recovers = False  # what is lost comes later, as if FEC had rebuilt it
        self._inFlight = InFlight()
        self._look = look
        self._stepsNow = 0

    def write(self, end: int, data: bytes) -> None:
        """Write at one end."""
        self.written[end] += data
        self.ends[end].write(data)
        self.turn(end)

    def turn(self, end: int) -> None:
        """Read what there is and send what may leave, as after any call."""
        arq = self.ends[end]
        while self.reading[end] and arq.unread:
            self._take(end, arq.read(READ))
        for datagram in flushAll(arq, self.now):
            self.sent[end].append(datagram)
            arrivals = self.paths[end].offer(datagram, self.now)
            for due, arrived in arrivals:
                self._inFlight.add(due, (1 - end, arrived, False))
            if not arrivals and self.recovers:
                self._inFlight.add(self.now + RECOVERY, (1 - end, datagram, True))

    def configure(self, **changes: Any) -> None:
        """Change faults of both directions."""
        for path in self.paths:
            path.configure(**changes)

    @property
    def complete(self) -> bool:
        """Whether all that was written has been read, and both ends know it."""
        return (
            self.received[1] == self.written[0]
            and self.received[0] == self.written[1]
            and not any(arq.unacknowledged or arq.unsent for arq in self.ends)
        )

    def step(self) -> bool:
        """Go on to the next arrival or timeout.  False where nothing will ever happen again."""
        times = [arq.nextTimeout() for arq in self.ends]
        soonest = min((time for time in (*times, self._inFlight.nextDue) if time is not None), default=None)
        if soonest is None:
            return False
        self._stepsNow = 0 if soonest > self.now else self._stepsNow + 1
        check(self._stepsNow < STEPS_AT_ONCE, f"at {self.now} ms an end wants to be called again and again")
        self.now = max(self.now, soonest)
        for end, arrived, recovered in self._inFlight.take(self.now, ARRIVALS):
            batch = inboundBatch([arrived])
            self.ends[end].datagramsReceived(batch, self.now, recovered)
            self.turn(end)
        for end in (0, 1):
            due = self.ends[end].nextTimeout()
            if due is not None and due <= self.now:
                self.turn(end)
        if self._look is not None:
            self._look(self)
        return True

    def run(self, until: Callable[[], object], ms: float) -> bool:
        """Whether ``until()`` comes true within so many ms."""
        end = self.now + ms
        while not until():
            if not self.step() or self.now > end:
                return bool(until())
        return True

    def finish(self, ms: float = 600_000.0) -> None:
        """All that was written arrives, and then all is quiet, within ``ms``; else AssertionError."""
        if not self.run(lambda: self.complete, ms):
            lengths = [(len(got), len(wrote)) for got, wrote in zip(self.received, reversed(self.written))]
            stalled = all(arq.nextTimeout() is None for arq in self.ends)
            why = "nobody wants to be called any more" if stalled else f"after {ms} ms"
            raise AssertionError(f"stalled at {self.now} ms ({why}): read of written, at either end: {lengths}")
        check(not self.run(lambda: False, ms), "")
        check(all(arq.nextTimeout() is None for arq in self.ends), "all is done, and still a timeout is wanted")

    def _take(self, end: int, pieces: list[bytes]) -> None:
        check(pieces, "read returned nothing, though there is something unread")
        got, wrote = self.received[end], self.written[1 - end]
        for piece in pieces:
            check(wrote.startswith(piece, len(got)), f"end {end} got other bytes at {len(got)} than were written there")
            got += piece
        check(len(got) <= len(wrote), f"end {end} got more than was written")


SLOT = 1500  # bytes; what a batch has room for, as the stack's
READ = 4096  # bytes at a read
RECOVERY = 15.0  # ms until what was lost is rebuilt
ARRIVALS = 64  # datagrams at a step
FLUSHES_MAX = 10_000
STEPS_AT_ONCE = 10_000
