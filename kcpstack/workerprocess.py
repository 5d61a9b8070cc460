"""One worker as its parent has it: a process, what it is told, and what it says."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from kcpstack.closing import Outcome
from kcpstack.listening import CannotBegin
from kcpstack.options import ServerSettings
from kcpstack.options.table import TABLE
from kcpstack.workerlink import (
    ORDERS,
    REPORTS,
    SOCKETS,
    Begin,
    Count,
    CutNow,
    Drain,
    Link,
    Reconfigure,
    Said,
    Told,
    asTexts,
)

__all__ = ["WorkerProcess", "checkPython"]


class WorkerProcess(ProcessProtocol):
    """Worker ``number`` on ``sockets``, which stay the caller's.

    ``told(counts)`` is called with what it has counted, and ``ended(how)`` once, when it is gone: "was killed by
    SIGKILL".  Raises OSError where it cannot be started."""

    def __init__(
        self,
        reactor: Any,
        number: int,
        settings: ServerSettings,
        sockets: Sequence[socket.socket],
        told: Callable[[dict[str, int]], None],
        ended: Callable[[str], None],
    ) -> None:
        self.number = number
        self._reactor = reactor
        self._told = told
        self._ended = ended
        self._link = _ParentLink(self)
        self._partial = {1: b"", 2: b""}  # of a line, by file descriptor
        descriptors: dict[int, Any] = {ORDERS: "w", 1: "r", 2: "r", REPORTS: "r"}
        descriptors.update({SOCKETS + index: sock.fileno() for index, sock in enumerate(sockets)})
        command = [sys.executable, "-m", "kcpstack.worker", str(number), type(reactor).__module__, str(len(sockets))]
        self._process: IProcessTransport = reactor.spawnProcess(
            self, sys.executable, command, _environment(), None, childFDs=descriptors
        )
        _log.info("Worker {number} is process {pid}", number=number, pid=self._process.pid)
        self._ask(Begin, settings=asTexts(settings)).addErrback(self._cannotBegin)

    # What it is asked.

    def reconfigure(self, settings: ServerSettings) -> None:
        self._ask(Reconfigure, settings=asTexts(settings)).addErrback(_gone)

    def count(self) -> Deferred[None]:
        """Fires when ``told`` has been called with the counters of now.  Fails where the worker has ended."""
        return self._ask(Count).addCallback(lambda answer: self._told(answer["counts"]))

    def drain(self) -> Deferred[Outcome | None]:
        """Have it close, as far as its settings' ``closewait`` lets it.  Fires when it has, and with None where it ended
        before it had."""
        drained: Deferred[Any] = self._ask(Drain)
        return drained.addCallbacks(lambda answer: Outcome(*answer["outcome"]), _gone)

    def cutNow(self) -> None:
        self._link.callRemote(CutNow)

    def letGo(self) -> None:
        """Let it end at once."""
        self._process.closeStdin()

    def kill(self) -> None:
        try:
            self._process.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def _ask(self, command: Any, **arguments: Any) -> Deferred[Any]:
        answered: Deferred[Any] = self._link.callRemote(command, **arguments)
        return answered

    def _cannotBegin(self, failure: Failure) -> None:
        self.kill()  # it has said why

    # What it says.

    def connectionMade(self) -> None:
        self._link.makeConnection(_Pipes(self.transport))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == REPORTS:
            self._link.dataReceived(data)
            return
        *lines, rest = (self._partial[childFD] + data).split(b"\n")
        if len(rest) > LINE_MAX:
            lines, rest = [*lines, rest], b""
        self._partial[childFD] = rest
        for line in lines:
            self._written(line)

    def told(self, counts: dict[str, int]) -> None:
        self._told(counts)

    def said(self, level: str, namespace: str, text: str) -> None:
        """A line of its log, which becomes one of ours."""
        system = f"{namespace}#{level} worker {self.number}"
        Logger(namespace).emit(LogLevel.lookupByName(level), "{text}", text=text, log_system=system)

    def _written(self, line: bytes) -> None:
        """A line that it has not logged: Python does not start, or a library wrote it."""
        if line.strip():
            self.said("warn", "stderr", line[:LINE_MAX].decode("utf-8", "backslashreplace"))

    def processExited(self, reason: Failure) -> None:
        """Whatever it has started may still have its pipes: not for us to wait for."""
        self._closing = self._reactor.callLater(PIPES_SECONDS, self._process.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        if self._closing.active():
            self._closing.cancel()
        for line in self._partial.values():
            self._written(line)
        self._link.connectionLost(reason)
        self._ended(_how(reason.value))


class _ParentLink(Link):
    """The parent's end of the pipes."""

    def __init__(self, worker: WorkerProcess) -> None:
        super().__init__()
        self._worker = worker

    @Told.responder
    def told(self, counts: dict[str, int]) -> dict[str, Any]:
        self._worker.told(counts)
        return {}

    @Said.responder
    def said(self, level: str, namespace: str, text: str) -> dict[str, Any]:
        self._worker.said(level, namespace, text)
        return {}


class _Pipes:
    """What AMP needs of a transport."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def write(self, data: bytes) -> None:
        self._process.write(data)

    def loseConnection(self) -> None:
        self._process.closeStdin()


def checkPython(given: str) -> None:
    """Raises CannotBegin of ``given``, an option with its value, where this user cannot run what runs us, as workers
    are to: it may be in root's own directory."""
    if not os.access(sys.executable, os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        error = CannotBegin(given, CannotListenError("", 0, OSError(errno.EACCES, os.strerror(errno.EACCES))))
        error.remedy = f"install Python where this user can run it, as it must for each worker (not {sys.executable})"
        raise error


def _environment() -> dict[str, str]:
    """Ours, but for secrets, which the worker gets through its pipe; and it finds its modules where we did."""
    secrets = {option.environment for option in TABLE if option.secret}
    environment = {name: value for name, value in os.environ.items() if name not in secrets}
    environment["PYTHONPATH"] = FOLDERS
    return environment


def _gone(failure: Failure) -> None:
    """Whoever supervises it has been told that it ended."""


def _how(reason: Any) -> str:
    if reason.signal is not None:
        return f"was killed by {signal.Signals(reason.signal).name}"
    return f"ended with status {reason.exitCode}"


FOLDERS = os.pathsep.join(map(os.path.abspath, sys.path))  # as from here: a daemon goes elsewhere
PIPES_SECONDS = 1.0
LINE_MAX = 4096  # bytes

_log = Logger()
