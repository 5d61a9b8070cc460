"""A congestion control: additive increase, and a half at each loss, for ``--congestion halving``.

The window grows by what is acknowledged until the first loss, and by one segment a round trip afterwards.  A
loss halves it, once for each flight: the other losses of that flight tell nothing new.  It asks only what was
acknowledged and what was lost, never how long that took, so jitter cannot mislead it.
"""

from __future__ import annotations

from zope.interface import implementer

from kcpstack.interfaces import ICongestionControl, ICongestionControlFactory

__all__ = ["Halving", "HalvingFactory"]

FIRST = 10  # segments (RFC 6928)
LEAST = 2  # segments: with one, each loss would wait for a timer


@implementer(ICongestionControl)
class Halving:
    """One session's.  ``limit`` caps the window, in segments."""

    def __init__(self, limit: int) -> None:
        self.window = min(FIRST, limit)
        self._limit = limit
        self._hasLost = False
        self._credit = 0  # segments acknowledged towards the next step
        self._reacting = 0  # segments still to be acknowledged of the flight that had the loss
        self._timedOutAt: float | None = None

    def acknowledged(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl.  The flight that had a loss opens nothing.  A window that is not half full
        has not been tried, and does not grow."""
        if self._reacting:
            self._reacting = max(0, self._reacting - segments)
            return
        if 2 * (inFlight + segments) < self.window:
            return
        self._credit += segments if self._hasLost else segments * self.window
        steps, self._credit = divmod(self._credit, self.window)
        self.window = min(self.window + steps, self._limit)

    def skipped(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl."""
        if not self._reacting:
            self._halve(inFlight)

    def timedOut(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl.  Timers that run out together are one loss; a later one is another."""
        if self._timedOutAt != now:
            self._timedOutAt = now
            self._halve(inFlight)

    def _halve(self, inFlight: int) -> None:
        self.window = min(max(self.window // 2, LEAST), self._limit)
        self._hasLost = True
        self._credit = 0
        self._reacting = inFlight


@implementer(ICongestionControlFactory)
class HalvingFactory:
    """One for each session: they share nothing."""

    name = "halving"

    def build(self, sendWindow: int) -> Halving:
        """See ICongestionControlFactory."""
        return Halving(sendWindow)
