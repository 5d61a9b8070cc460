"""What the ARQ has in flight, and which of it is lost.

**Every transmission has a number of its own**, and that number travels as ``ts``, which the peer only
echoes.  So an ack tells not just which segment arrived but which sending of it: the round trip
is exact even for segments sent twice (no Karn ambiguity), and the numbers order all sendings.  Where a
round trip longer than the RTO has everything sent twice, the first acks say so, and the RTO grows.

**Loss shows in the order of sending.**  An acknowledged transmission has overtaken all lower numbers
still out.  One that has been overtaken by ``resend`` ack datagrams is lost.  Older transmissions have been
overtaken at least as often as newer ones, so the lost are always the head of a list in order of
sending, and no scan of the window is ever needed.  What nothing overtakes is caught by its timer,
on the same list: all transmissions with the same number of time-outs behind them share one
timeout, so the oldest expires first.

Compiled with flights.pxd (docs/kernels.rst).
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import NamedTuple

from kcpstack.batch import BytesLike
from kcpstack.kernels.roundtrip import RoundTrip

__all__ = ["ACKNOWLEDGED", "Flights", "Losses", "Segment"]

ACKNOWLEDGED = -1  # no transmission has this number
_ACKNOWLEDGED = ACKNOWLEDGED  # for C, as in kcpstack/kernels/segment.py


class Segment:
    """One segment of ours, from its first sending until it is acknowledged."""

    __slots__ = ("sn", "data", "number", "sent", "timeouts", "earlier")

    def __init__(self, sn: int, data: BytesLike) -> None:
        self.sn = sn
        self.data = data
        self.number = 0  # of its latest transmission; ACKNOWLEDGED once it needs no more
        self.sent = 0.0  # when that was, ms
        self.timeouts = 0  # in a row, since it was last sent for another reason
        self.earlier: tuple[tuple[int, float], ...] = ()  # number and time of the transmissions before

    @property
    def acknowledged(self) -> bool:
        """Whether the peer has it."""
        return self.number == _ACKNOWLEDGED

    @property
    def firstSent(self) -> float:
        """When it was first sent, as far back as that was kept."""
        return self.earlier[0][1] if self.earlier else self.sent

    def sentAt(self, number: int) -> float | None:
        """When the transmission with this number was; None where it was not of this segment."""
        if number == self.number:
            return self.sent
        for earlier, sent in self.earlier:
            if earlier == number:
                return sent
        return None


class Losses(NamedTuple):
    """What was found lost at once."""

    segments: list[Segment]
    skipped: int  # of these, because later ones were acknowledged
    timedOut: int  # and because their timer ran out


class Flights:
    """The transmissions that are out, in order of sending.

    ``resend``: ack datagrams that must overtake a transmission before it counts as lost; 0: never."""

    def __init__(self, resend: int, roundTrip: RoundTrip) -> None:
        self.number = 1  # of the next transmission
        self._resend = resend
        self._roundTrip = roundTrip
        self._flights: list[deque[tuple[int, Segment]]] = [deque()]  # by time-outs so far
        self._overtakers: list[int] = []  # highest numbers acknowledged, ascending, at most `resend`

    def __len__(self) -> int:
        """Transmissions kept: those that are out, and the settled ones between them."""
        return sum(len(flight) for flight in self._flights)

    def depart(self, segment: Segment, now: float) -> int:
        """``segment`` is sent now.  Returns the number of this transmission."""
        number = self.number
        self.number = number + 1
        if segment.number:
            segment.earlier = (*segment.earlier[-EARLIER_KEPT:], (segment.number, segment.sent))
        segment.number = number
        segment.sent = now
        self._flights[segment.timeouts].append((number, segment))
        return number

    def overtaken(self, newest: int) -> None:
        """An ack datagram has overtaken all transmissions with numbers below ``newest``."""
        overtakers = self._overtakers
        if newest in overtakers:
            return
        insort(overtakers, newest)
        if len(overtakers) > max(1, self._resend):
            del overtakers[0]

    def nextTimeout(self) -> float | None:
        """When the first timer runs out; None where nothing is out."""
        due = NEVER
        for timeouts in range(len(self._flights)):
            flight = self._flights[timeouts]
            _dropSettled(flight)
            if flight:
                segment = flight[0][1]
                expires = segment.sent + self._roundTrip.timeoutAfter(timeouts)
                due = min(due, expires)
        return due if due < NEVER else None

    def takeLost(self, now: float, early: bool) -> Losses:
        """Take out the transmissions overtaken often enough, and those out of time.

        ``early``: nothing new will be sent, so no further acks will come to count: one is enough."""
        overtakers = self._overtakers
        needed = 1 if early else self._resend
        threshold = overtakers[len(overtakers) - needed] if 0 < needed <= len(overtakers) else -1
        found: list[Segment] = []
        skipped = timedOut = 0
        for timeouts in range(len(self._flights)):
            flight = self._flights[timeouts]
            timeout = self._roundTrip.timeoutAfter(timeouts)
            _dropSettled(flight)
            while flight:
                first = flight[0]
                number = first[0]
                segment = first[1]
                if number < threshold:
                    segment.timeouts = 0
                    skipped += 1
                elif segment.sent + timeout <= now:  # as nextTimeout computes it, rounding included
                    segment.timeouts = min(timeouts + 1, TIMEOUTS_COUNTED)
                    if segment.timeouts == len(self._flights):
                        self._flights.append(deque())
                    timedOut += 1
                else:
                    break
                found.append(segment)
                flight.popleft()
                _dropSettled(flight)
        return Losses(found, skipped, timedOut)


def _dropSettled(flight: deque[tuple[int, Segment]]) -> None:
    """Forget transmissions at the head whose segment was acknowledged or sent again since."""
    while flight:
        first = flight[0]
        segment = first[1]
        if segment.number == first[0]:
            return
        flight.popleft()


EARLIER_KEPT = 7  # transmissions of one segment; acks of older ones are too late to matter
TIMEOUTS_COUNTED = 64  # in a row; with the RTO's ceiling long reached, a bound on the lists
NEVER = float("inf")
