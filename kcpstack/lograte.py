"""Log lines that strangers can cause, at a bounded rate."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from twisted.logger import Logger

__all__ = ["BoundedLog", "RareLog"]


class BoundedLog:
    """Passes on LINES lines in each PERIOD seconds of ``clock`` (IReactorTime); the first line of the next
    period says how many were left out."""

    def __init__(self, log: Logger, clock: Any) -> None:
        self._log = log
        self._clock = clock
        self._periodEnds = 0.0
        self._left = 0
        self._unsaid = 0

    def info(self, format: str, **values: Any) -> None:
        """As Logger.info."""
        now = self._clock.seconds()
        if now >= self._periodEnds:
            self._periodEnds = now + PERIOD
            self._left = LINES
            if self._unsaid:
                self._log.info("({count} more lines like these were left out)", count=self._unsaid)
                self._unsaid = 0
        if self._left:
            self._left -= 1
            self._log.info(format, **values)
        else:
            self._unsaid += 1


class RareLog:
    """Warnings about peers: each at most once in RARE_PERIOD seconds of ``clock`` (IReactorTime), and
    RARE_LINES of them all together, the last of which says so.  What it remembers is bounded by that."""

    def __init__(self, log: Logger, clock: Any) -> None:
        self._log = log
        self._clock = clock
        self._saidAt: dict[Hashable, float] = {}  # the oldest first

    @property
    def full(self) -> bool:
        """Whether nothing more may be said for the time being."""
        self._forget()
        return len(self._saidAt) >= RARE_LINES

    def warn(self, what: Hashable, format: str, /, **values: Any) -> None:
        """As Logger.warn.  ``what`` tells warnings apart: of whom, and what it is about."""
        if self.full or what in self._saidAt:
            return
        self._saidAt[what] = self._clock.seconds()
        self._log.warn(format + (LAST_LINE if self.full else ""), **values)

    def _forget(self) -> None:
        since = self._clock.seconds() - RARE_PERIOD
        while self._saidAt:
            oldest = next(iter(self._saidAt))
            if self._saidAt[oldest] > since:
                return
            del self._saidAt[oldest]


RARE_PERIOD = 600.0  # s; who looks into the log of a tunnel that does not work finds it near the end
RARE_LINES = 20  # peers that are set up wrong, in ten minutes; the next reason is the same
LAST_LINE = f" (enough of such lines for {RARE_PERIOD / 60:.0f} minutes)"
LINES = 100  # a server that comes back greets its clients of ordinary days by name
PERIOD = 10.0  # s
