"""Log lines that strangers can cause, by what they send or by what they wrote, at a bounded rate."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["BoundedLog", "FaultLog", "RareLog"]


class BoundedLog:
    """Passes on LINES lines in each PERIOD seconds of ``clock``; the first line of the next
    period says how many were left out."""

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
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
    """Warnings about peers: each at most once in RARE_PERIOD seconds of ``clock``, and
    RARE_LINES of them all together, the last of which says so.  What it remembers is bounded by that."""

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
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


class FaultLog:
    """Logs the exceptions of one layer from outside at a rate that no peer can drive up.

    Reports the first, the 10th, the 100th and so on, which needs no clock and stays at a line for
    each power of ten, however many datagrams arrive."""

    def __init__(self, log: Logger, layer: str) -> None:
        self._log = log
        self._layer = layer
        self._count = 0
        self._reportAt = 1

    def failed(self, what: str) -> None:
        """The exception now being handled came out of the layer, which has failed ``what``: "to do something"."""
        self._count += 1
        if self._count == self._reportAt:
            self._reportAt *= 10
            self._log.failure(
                "{layer} failed {what} (failure number {count})", layer=self._layer, what=what, count=self._count
            )


RARE_PERIOD = 600.0  # s; who looks into the log of a tunnel that does not work finds it near the end
RARE_LINES = 20  # peers that are set up wrong, in ten minutes; the next reason is the same
LAST_LINE = f" (enough of such lines for {RARE_PERIOD / 60:.0f} minutes)"
LINES = 100  # a server that comes back greets its clients of ordinary days by name
PERIOD = 10.0  # s
