"""Log lines that strangers can cause, at a bounded rate."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

__all__ = ["BoundedLog"]


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


LINES = 100  # a server that comes back greets its clients of ordinary days by name
PERIOD = 10.0  # s
