"""Pacing: how much a session may send now, and when it may send more.

A token bucket, told the time.  Credit grows by ``rate`` and is spent by what went out, counted once its size on
the wire is known: parity and headers may overdraw it, and are paid for before anything else leaves.

Two things keep it from costing speed:

- credit is handed out in portions worth a wake-up: PORTION ms of the rate, at least one datagram, at most a GSO
  send.  What is smaller waits until it has become one;
- who waited and was woken late gets what the lateness cost, up to LATENESS.  (A bucket no deeper than the lateness
  of wake-ups loses what overflows each time.)

So over any time t no more leaves than rate * t + ``burst`` + what the last send overdrew, and rate * LATENESS
more where wake-ups are late.
"""

from __future__ import annotations

__all__ = ["DATAGRAM", "LATENESS", "Pacer"]


class Pacer:
    """``rate`` is in bytes a second, above 0 (else ValueError).  The credit is full at first.

    ``now`` is in ms and never goes back."""

    __slots__ = ("rate", "burst", "_perMs", "_portion", "_credit", "_countedAt", "_readyAt")

    def __init__(self, rate: float, now: float) -> None:
        self._credit = 0.0  # bytes; below 0: more went out than was to
        self._countedAt = now
        self._readyAt: float | None = None  # when somebody who waits was told to come again
        self._set(rate)
        self._credit = self.burst

    def setRate(self, rate: float, now: float) -> None:
        """Another rate from now on.  Who waits should ask again."""
        self._count(now)
        self._readyAt = None
        self._set(rate)
        self._credit = min(self._credit, self.burst)

    def allowance(self, now: float) -> int:
        """How many datagrams of any size (DATAGRAM at most) may leave now; 0: wait until ``readyAt``."""
        self._count(now)
        return int(self._credit / DATAGRAM) if self._credit >= self._portion else 0

    def readyAt(self, now: float) -> float:
        """Something has to wait: when the next portion is there, as a ``now``."""
        self._count(now)
        self._readyAt = now + max(0.0, self._portion - self._credit) / self._perMs + ROUNDING
        return self._readyAt

    def sent(self, size: int) -> None:
        """``size`` bytes have left, headers of all layers included."""
        self._credit -= size

    def _set(self, rate: float) -> None:
        if not rate > 0:
            raise ValueError(f"a pace is a number of bytes a second above 0, not {rate!r}")
        self.rate = rate
        self._perMs = rate / 1000
        self._portion = min(max(self._perMs * PORTION, DATAGRAM), PORTION_MAX)
        self.burst = max(self._perMs * BURST, 2.0 * DATAGRAM)

    def _count(self, now: float) -> None:
        """Add the credit that time has brought.  Above ``burst`` it overflows, unless it is owed to a late wake-up."""
        limit = self.burst
        if self._readyAt is not None and now >= self._readyAt:
            limit += min(now - self._readyAt, LATENESS) * self._perMs
            self._readyAt = None
        grown = self._credit + (now - self._countedAt) * self._perMs
        self._countedAt = now
        self._credit = max(self._credit, min(grown, limit))


DATAGRAM = 1500  # bytes; the largest --mtu, which bounds what leaves as one datagram
PORTION = 4.0  # ms; some wake-ups of a reactor, whose timers are exact to one
PORTION_MAX = 65_536  # bytes; one GSO send
BURST = 10.0  # ms; what may leave at once after a pause.  Above two portions
LATENESS = 50.0  # ms; reactors that are busy for longer are no longer slow because of us
ROUNDING = 0.001  # ms; so that at `readyAt` the portion is there, floats rounded or not
