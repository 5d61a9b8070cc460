"""Whatever strangers do, the log grows no faster than it may."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent

from kcpstack.lograte import LINES, PERIOD, RARE_LINES, RARE_PERIOD, BoundedLog, RareLog


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


def test_aRareLineIsSaidOnceInItsPeriod():
    lines: list[str] = []
    clock = Clock()
    rare = RareLog(Logger(observer=lambda event: lines.append(formatEvent(event))), clock)
    for _ in range(2):
        for what in ("this", "that"):
            rare.warn(what, "{what} is wrong", what=what)
    assert lines == ["this is wrong", "that is wrong"]
    clock.advance(RARE_PERIOD)
    rare.warn("this", "{what} is wrong", what="this")
    assert len(lines) == 3


def test_rareLinesAreBoundedTogetherAndTheLastSaysSo():
    lines: list[str] = []
    clock = Clock()
    rare = RareLog(Logger(observer=lambda event: lines.append(formatEvent(event))), clock)
    for number in range(RARE_LINES + 7):
        assert rare.full == (number >= RARE_LINES)
        rare.warn(number, "{number} is wrong", number=number)
    assert len(lines) == RARE_LINES
    assert [line for line in lines if "enough" in line] == ["19 is wrong (enough of such lines for 10 minutes)"]
    clock.advance(RARE_PERIOD)
    assert not rare.full
