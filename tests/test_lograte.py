"""Whatever strangers do, the log grows no faster than it may."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from kcpstack.lograte import LINES, PERIOD, BoundedLog


def test_linesAreBoundedAndThoseLeftOutAreCounted():
    lines: list[str] = []
    clock = Clock()
    log = BoundedLog(Logger(observer=lambda event: lines.append(formatEvent(event))), clock)
    for number in range(LINES + 7):
        log.info("line {number}", number=number)
    assert len(lines) == LINES
    clock.advance(PERIOD)
    log.info("line {number}", number="last")
    assert lines[LINES:] == ["(7 more lines like these were left out)", "line last"]
