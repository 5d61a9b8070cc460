"""The counters for those who watch a tunnel, in kcptun's two forms: one line, and a log of CSV rows.

- ``printout`` is what ``kill -USR1`` puts into the log: all names that any kcp-go has, then ours.
- ``SNMPLog`` appends to the file of ``--snmplog``, in the columns of the newest kcptun.
- ``Reports`` is all of this for one service.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol, Union

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from kcpstack.counters import ALIASES, FORMER, OWN, SNMP, Counters
from kcpstack.gotime import expand
from kcpstack.signals import SignalWatch

__all__ = ["Reports", "SNMPLog", "Sample", "countQueues", "header", "localTime", "printout", "row"]

# The counters as they are now: at once, or where others have to be asked for them, soon.
Sample = Callable[[], Union[Counters, "Deferred[Counters]"]]


class Queues(Protocol):
    """What ``countQueues`` wants of a conversation."""

    def queued(self) -> tuple[int, int, int]:
        """Segments waiting to be sent, waiting to be read, and in flight."""


def printout(counters: Counters) -> str:
    """All counters in one line, as kcptun prints them: ``KCP SNMP:&{BytesSent:0 ...}``."""
    names = (*SNMP, *FORMER, *ALIASES, *OWN)
    return f"KCP SNMP:&{{{' '.join(f'{name}:{getattr(counters, name)}' for name in names)}}}"


def header() -> str:
    """The first line of a log: the time, and kcp-go's names in its order."""
    return ",".join(("Unix", *SNMP)) + "\n"


def row(counters: Counters, seconds: int) -> str:
    """One line of a log; ``seconds`` since 1970."""
    return ",".join(map(str, (seconds, *(getattr(counters, name) for name in SNMP)))) + "\n"


def countQueues(counters: Counters, conversations: Iterable[Queues]) -> None:
    """Set the counters that are gauges of what waits now, to the sum over ``conversations``."""
    queues = [conversation.queued() for conversation in conversations]
    counters.RingBufferSndQueue = sum(unsent for unsent, _, _ in queues)
    counters.RingBufferRcvQueue = sum(unread for _, unread, _ in queues)
    counters.RingBufferSndBuffer = sum(inFlight for _, _, inFlight in queues)


def localTime() -> datetime:
    """Now, in the time zone of this machine, with its name."""
    return datetime.now().astimezone()


class SNMPLog:
    """Appends a row to a file every ``period`` seconds, the first one after the first period.

    The file name behind the last slash of ``path`` is a Go time layout.  The file is opened for each row,
    so it can be moved away at any time, and begins with a header where it was empty.  ``sample`` is as above,
    ``clock`` an IReactorTime, ``wallClock()`` the time as a datetime.

    An empty path, or a period of 0, means no log.  What cannot be written is lost: the log says why at the
    first, 10th, 100th... failure in a row, and when it works again."""

    def __init__(
        self,
        path: str,
        period: int,
        sample: Sample,
        clock: IReactorTime,
        wallClock: Callable[[], datetime] = localTime,
    ) -> None:
        self._path = path
        self._period = period
        self._sample = sample
        self._wallClock = wallClock
        self._failures = 0  # in a row
        self._loop = LoopingCall(lambda: _soon(self._sample).addCallback(self._write))
        self._loop.clock = clock

    def start(self) -> None:
        if self._path and self._period and not self._loop.running:
            self._loop.start(self._period, now=False)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()

    def _write(self, counters: Counters) -> None:
        moment = self._wallClock()
        folder, slash, layout = self._path.rpartition("/")
        path = folder + slash + expand(layout, moment)
        try:
            _append(path, row(counters, int(moment.timestamp())))
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            self._failed(path, error)
        else:
            if self._failures:
                _log.info("--snmplog: writing to {path} works again", path=path)
            self._failures = 0

    def _failed(self, path: str, error: Exception) -> None:
        self._failures += 1
        if str(self._failures).strip("0") == "1":
            _log.warn(
                "--snmplog: cannot write to {path} ({error}; failure {count} in a row); trying again in {period} s",
                path=path,
                error=getattr(error, "strerror", None) or error,
                count=self._failures,
                period=self._period,
            )


def _append(path: str, line: str) -> None:
    """Append ``line``, behind the header in an empty file.  Raises OSError or ValueError."""
    # Opened for reading too, as Go does, and never waiting: a pipe that nobody reads must not stop the tunnel.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | NONBLOCK, 0o666)
    try:
        text = line if os.fstat(descriptor).st_size else header() + line
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


class Reports:
    """What one client or server tells of its counters (``sample``, as above), between ``start`` and ``stop``: the line
    on PRINT_SIGNAL, where this ``heedsSignals``, and the log in ``path`` every ``period`` seconds."""

    def __init__(self, reactor: IReactorTime, sample: Sample, heedsSignals: bool = True) -> None:
        self._reactor = reactor
        self._sample = sample
        self._csv = SNMPLog("", 0, sample, reactor)
        self._given = ("", 0)
        self._watch = SignalWatch(reactor, PRINT_SIGNAL if heedsSignals else None, self.print)

    def start(self, path: str, period: int) -> None:
        self._watch.start()
        self.change(path, period)

    def change(self, path: str, period: int) -> None:
        """Go on with another log, if it is another; its first row is written after a period of its own."""
        if (path, period) != self._given:
            self._given = (path, period)
            self._csv.stop()
            self._csv = SNMPLog(path, period, self._sample, self._reactor)
            self._csv.start()

    def stop(self) -> None:
        self._csv.stop()
        self._watch.stop()

    def print(self) -> None:
        """Put all counters into the log, in one line."""
        _soon(self._sample).addCallback(_print)


def _soon(sample: Sample) -> Deferred[Counters]:
    answer = sample()
    return answer if isinstance(answer, Deferred) else succeed(answer)


def _print(counters: Counters) -> None:
    _log.info("{counters}", counters=printout(counters))


PRINT_SIGNAL: int | None = getattr(signal, "SIGUSR1", None)  # Windows has none
NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # nor this

_log = Logger()
