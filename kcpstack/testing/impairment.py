"""What a bad path does to datagrams: the one truth behind the simulated network and the bad link.

:class:`Faults` says how bad one direction is, :class:`Impairment` decides from it what becomes of
each datagram, and :class:`InFlight` holds the datagrams until they are due.  None of them knows a
clock or a socket: times are milliseconds (floats) that the caller passes in.

A datagram meets, in this order: the cut, the size limit, the bottleneck, loss, corruption, delay
with jitter, reordering, duplication.

Repeatable: every effect has a random stream of its own, made from the seed, the name of the
direction and the name of the effect, and takes the same number of draws from it for every
datagram, whether the effect is switched on or not.  So what chance does to datagram ``n`` depends on
the seed, the direction and ``n`` alone, and switching one effect on, or on later, does not move another.
(In bursts, loss also depends on when bursts were switched on.  Jitter depends on the time instead of
``n``, and the bottleneck's queue on what else is in it.)
"""

from __future__ import annotations

import dataclasses
import heapq
import random
from collections import deque
from typing import Any, NamedTuple

__all__ = ["PERFECT", "Decision", "Faults", "Impairment", "InFlight", "Tally"]

FRACTIONS = ("loss", "reorder", "duplicate", "corrupt")
JITTER_PERIOD = 20.0  # ms; how often jitter has a new random level to move to


@dataclasses.dataclass(frozen=True)
class Faults:
    """How bad one direction of a path is.  All defaults together are a perfect path.

    Chances are fractions from 0 to 1, times are milliseconds.  Raises ValueError where a value is
    out of its range.
    """

    delay: float = 0.0  # one way
    jitter: float = 0.0  # the delay wanders by up to this much either way; the order is kept
    loss: float = 0.0
    burst: float = 0.0  # mean length of a run of losses, in datagrams; 0: each on its own
    reorder: float = 0.0  # held back by `hold`, so that later ones overtake
    duplicate: float = 0.0  # delivered again, up to `hold` later
    corrupt: float = 0.0  # one byte changed
    hold: float = 10.0
    rate: float = 0.0  # bytes a second through the bottleneck; 0: unlimited
    queue: float = 100.0  # longest wait in front of the bottleneck: what would wait longer is dropped
    mtu: int = 0  # longest datagram that passes, in bytes of UDP payload; 0: any
    cut: bool = False  # nothing passes

    def __post_init__(self) -> None:
        for name in FRACTIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a fraction from 0 to 1, not {getattr(self, name)!r}")
        for name in ("delay", "jitter", "burst", "hold", "rate", "queue", "mtu"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} cannot be negative: {getattr(self, name)!r}")
        if self.burst and (self.burst < 1 or self.loss > self.burst / (self.burst + 1)):
            raise ValueError(f"bursts of {self.burst!r} datagrams cannot make a loss of {self.loss!r}")


PERFECT = Faults()


@dataclasses.dataclass
class Tally:
    """What one direction did, in datagrams unless the name says bytes."""

    offered: int = 0
    offeredBytes: int = 0
    carried: int = 0  # copies included
    carriedBytes: int = 0
    cut: int = 0
    tooLong: int = 0
    queueFull: int = 0
    lost: int = 0
    corrupted: int = 0
    reordered: int = 0
    duplicated: int = 0

    def asDict(self) -> dict[str, int]:
        return dataclasses.asdict(self)


class Decision(NamedTuple):
    """One line of a trace: what became of one datagram."""

    time: float  # ms
    direction: str
    number: int  # of the datagram in its direction, from 0
    length: int  # bytes
    verdict: str  # why it was dropped; or its faults, joined by "+"; "" for none


class Impairment:
    """Decides the fate of each datagram of one direction.

    ``trace`` is a deque (with a ``maxlen``: it is the bound) that gets a Decision for each datagram.
    """

    def __init__(
        self,
        seed: object,
        direction: str,
        faults: Faults = PERFECT,
        trace: deque[Decision] | None = None,
    ) -> None:
        self.direction = direction
        self.faults = faults
        self.tally = Tally()
        self._trace = trace
        self._name = f"{seed}/{direction}"
        self._number = 0
        self._bottleneckFree = 0.0  # when the last byte in the queue will have left
        self._latest = 0.0  # no datagram arrives before this one, unless held back
        self._inBurst = False
        self._jitterSlot = -1.0
        self._jitterLevels = (0.0, 0.0)
        self._loss, self._reorder, self._duplicate, self._corrupt = (
            random.Random(f"{self._name}/{effect}").random for effect in FRACTIONS
        )

    def configure(self, **changes: Any) -> None:
        """Change some faults (fields of Faults) from the next datagram on; what is under way keeps
        its time.  Raises TypeError for an unknown name and ValueError for a bad value."""
        self.faults = dataclasses.replace(self.faults, **changes)

    def offer(self, datagram: bytes, now: float) -> list[tuple[float, bytes]]:
        """Return when (ms, ``now`` or later) and in what form the datagram arrives: a list of none,
        one or two.  ``now`` never goes back."""
        faults, tally = self.faults, self.tally
        tally.offered += 1
        tally.offeredBytes += len(datagram)
        number = self._number
        self._number = number + 1
        lost = self._drawLoss(faults)
        reordered = self._reorder() < faults.reorder
        duplicated, lag = self._duplicate() < faults.duplicate, self._duplicate()
        corrupted, where, change = self._corrupt() < faults.corrupt, self._corrupt(), self._corrupt()

        departure, verdict = self._leaveBottleneck(faults, len(datagram), now)
        arrivals: list[tuple[float, bytes]] = []
        if not verdict and lost:
            tally.lost += 1
            verdict = "lost"
        if not verdict:
            if corrupted:
                datagram = _withOneByteChanged(datagram, where, change)
            due = self._latest = max(self._latest, departure + self._delayAt(departure))
            if reordered:
                due += faults.hold
            arrivals.append((due, datagram))
            if duplicated:
                arrivals.append((due + lag * faults.hold, datagram))
            verdict = self._count(len(datagram), corrupted, reordered, duplicated)
        if self._trace is not None:
            self._trace.append(Decision(now, self.direction, number, len(datagram), verdict))
        return arrivals

    def _drawLoss(self, faults: Faults) -> bool:
        """Independent, or the Gilbert-Elliott chain that loses everything in its bad state."""
        draw = self._loss()
        if not faults.burst:
            return draw < faults.loss
        if self._inBurst:
            self._inBurst = draw >= 1 / faults.burst
        else:
            self._inBurst = draw < faults.loss / (faults.burst * (1 - faults.loss))
        return self._inBurst

    def _leaveBottleneck(self, faults: Faults, length: int, now: float) -> tuple[float, str]:
        """When the datagram's last byte has left the bottleneck, and why it never will ("": it will)."""
        if faults.cut:
            self.tally.cut += 1
            return now, "cut"
        if faults.mtu and length > faults.mtu:
            self.tally.tooLong += 1
            return now, "too long"
        if not faults.rate:
            return now, ""
        begin = max(now, self._bottleneckFree)
        if begin - now > faults.queue:
            self.tally.queueFull += 1
            return now, "queue full"
        self._bottleneckFree = begin + length * 1000 / faults.rate
        return self._bottleneckFree, ""

    def _delayAt(self, when: float) -> float:
        """The delay of what leaves the bottleneck at ``when``: jitter moves on straight lines between
        random levels, so that it looks like a queue of somebody else's."""
        faults = self.faults
        if not faults.jitter:
            return faults.delay
        slot, progress = divmod(when, JITTER_PERIOD)
        if slot != self._jitterSlot:
            self._jitterSlot = slot
            self._jitterLevels = self._jitterLevel(slot), self._jitterLevel(slot + 1)
        low, high = self._jitterLevels
        level = low + (high - low) * progress / JITTER_PERIOD
        return max(0.0, faults.delay + faults.jitter * level)

    def _jitterLevel(self, slot: float) -> float:
        return random.Random(f"{self._name}/jitter/{int(slot)}").uniform(-1, 1)

    def _count(self, length: int, corrupted: bool, reordered: bool, duplicated: bool) -> str:
        tally = self.tally
        tally.carried += 1 + duplicated
        tally.carriedBytes += length * (1 + duplicated)
        if not (corrupted or reordered or duplicated):
            return ""
        tally.corrupted += corrupted
        tally.reordered += reordered
        tally.duplicated += duplicated
        names = (("corrupted", corrupted), ("reordered", reordered), ("duplicated", duplicated))
        return "+".join(name for name, happened in names if happened)


class InFlight:
    """Things under way, taken out in the order in which they are due, and of equals in that of ``add``."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def nextDue(self) -> float | None:
        """When the first is due (ms); None where nothing is under way."""
        return self._heap[0][0] if self._heap else None

    def add(self, due: float, thing: Any) -> None:
        heapq.heappush(self._heap, (due, self._serial, thing))
        self._serial += 1

    def take(self, now: float, limit: int) -> list[Any]:
        """Take out what is due by ``now``, at most ``limit`` things."""
        heap = self._heap
        taken: list[Any] = []
        while heap and heap[0][0] <= now and len(taken) < limit:
            taken.append(heapq.heappop(heap)[2])
        return taken


def _withOneByteChanged(datagram: bytes, where: float, change: float) -> bytes:
    """``where`` and ``change`` are random floats from 0 to below 1; the byte really differs."""
    if not datagram:
        return datagram
    changed = bytearray(datagram)
    changed[int(where * len(changed))] ^= 1 + int(change * 255)
    return bytes(changed)
