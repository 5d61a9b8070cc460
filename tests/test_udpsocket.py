"""Errors of UDP sockets reach the user with a remedy, at a bounded rate; nothing else than that."""

from __future__ import annotations

import errno
import os

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from kcpstack.layers.udpsocket import PERIOD, SocketErrors

PEER = ("2001:db8::7", 4000, 0, 0)


def no(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENETUNREACH, "no route"),
        (errno.EHOSTUNREACH, "no route"),
        (errno.EPERM, "a firewall on this machine"),
        (errno.ENOBUFS, "harmless"),
        (errno.EMSGSIZE, "lower --mtu"),
    ],
    ids=lambda value: errno.errorcode.get(value),
)
def test_theLineSaysWhatToDo(number, remedy):
    with capturedLogs() as logs:
        SocketErrors(Clock()).happened(no(number), PEER)
    line = formatEvent(logs[0])
    assert line.startswith(f"UDP to [2001:db8::7]:4000: {os.strerror(number)}: ") and remedy in line


def test_anErrorWithoutARemedyAndAPeerIsSaidAsItIs():
    with capturedLogs() as logs:
        SocketErrors(Clock()).happened(no(errno.ENOTSOCK), None)
    assert formatEvent(logs[0]) == "UDP: Socket operation on non-socket"


def test_eachKindOfErrorHasOneLineAPeriodAndTheOthersAreCounted():
    clock = Clock()
    errors = SocketErrors(clock)
    with capturedLogs() as logs:
        for _ in range(1000):
            errors.happened(no(errno.ENOBUFS), PEER)
            errors.happened(no(errno.EPERM), PEER)
        assert len(logs) == 2
        clock.advance(PERIOD)
        errors.happened(no(errno.EPERM), PEER)
    assert formatEvent(logs[2]).endswith("(999 more like this since the last such line)")
