"""Congestion control: how many segments a session may have in flight.

kcptun's modes choose between two: none at all (``nc`` 1, every named mode), and KCP's own slow start
and avoidance (``nc`` 0).
"""

from __future__ import annotations

from zope.interface import implementer

from kcpstack.interfaces import ICongestionControl

__all__ = ["FixedWindow", "SlowStart"]


@implementer(ICongestionControl)
class FixedWindow:
    """No congestion control: the windows of the two ends are the only limit."""

    def __init__(self, window: int) -> None:
        self.window = window

    def acknowledged(self, segments: int, inFlight: int, now: float) -> None:
        """Nothing changes."""

    def skipped(self, segments: int, inFlight: int, now: float) -> None:
        """Nothing changes."""

    def timedOut(self, segments: int, inFlight: int, now: float) -> None:
        """Nothing changes."""


@implementer(ICongestionControl)
class SlowStart:
    """Slow start, then one segment more a round trip (RFC 5681 in segments).

    A segment skipped by later acks halves the flight; one that timed out starts over at one segment.
    ``limit`` caps the window, in segments.  KCP's own variant leaves slow start at two segments and
    takes minutes to fill a long path; the peer cannot tell the difference."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._threshold = limit
        self._credit = 0  # segments acknowledged towards the next step of avoidance
        self.window = min(INITIAL_WINDOW, limit)

    def acknowledged(self, segments: int, inFlight: int, now: float) -> None:
        """Open by what was acknowledged in slow start, by one for each window after it."""
        if self.window < self._threshold:
            self.window = min(self.window + segments, max(self._threshold, self.window + 1))
        else:
            self._credit += segments
            if self._credit >= self.window:
                self._credit = 0
                self.window += 1
        self.window = min(self.window, self._limit)

    def skipped(self, segments: int, inFlight: int, now: float) -> None:
        """Half of what is in flight, and the segments known to have left the path."""
        self._threshold = max(inFlight // 2, THRESHOLD_MIN)
        self.window = min(self._threshold + segments, self._limit)
        self._credit = 0

    def timedOut(self, segments: int, inFlight: int, now: float) -> None:
        """Start over."""
        self._threshold = max(inFlight // 2, THRESHOLD_MIN)
        self.window = 1
        self._credit = 0


INITIAL_WINDOW = 10  # segments; RFC 6928
THRESHOLD_MIN = 2  # segments; RFC 5681, equation 4
