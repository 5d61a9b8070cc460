"""What a worker's process runs: ``python -m kcpstack.worker NUMBER REACTOR PORTS``, by kcpstack/workerprocess.py.

A server on sockets that the parent has opened.  Its log, its counters and its orders go through the parent
(workerlink.py); signals are the parent's alone, for many come to the whole process group, or to all of a service.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.interfaces import IDatagramTransport, ISharedListening
from kcpstack.listening import raiseFileLimit
from kcpstack.options import ServerSettings
from kcpstack.profiling import PORT, ProfilingService
from kcpstack.seams import TRANSPORTS
from kcpstack.service import ServerService
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
    fromTexts,
)

__all__ = ["WorkerLink", "WorkerService", "main"]


class WorkerService(ServerService):
    """A server on ``sockets``, one for each port of ``settings``."""

    heedsSignals = False

    def __init__(self, reactor: Any, settings: ServerSettings, sockets: Sequence[socket.socket]) -> None:
        self._sockets = sockets
        super().__init__(reactor, settings)

    def _newTransport(self, settings: ServerSettings) -> IDatagramTransport:
        factory = ISharedListening(TRANSPORTS.find(settings.transport))
        return factory.listenOn(self._transportContext(), self._sockets)

    def _begin(self) -> None:
        """The parent has said where we listen."""


class WorkerLink(Link):
    """Does what the parent asks, with a server on ``sockets``.  ``number`` is this worker's."""

    def __init__(self, reactor: Any, number: int, sockets: Sequence[socket.socket]) -> None:
        super().__init__()
        self._reactor = reactor
        self._number = number
        self._sockets = sockets
        self._service: WorkerService | None = None  # once it has begun
        self._told: dict[str, int] = {}
        self._telling = LoopingCall(self._tell)
        self._telling.clock = reactor

    @Begin.responder
    def begin(self, settings: dict[str, str]) -> dict[str, Any]:
        service = WorkerService(self._reactor, fromTexts(settings), self._sockets)
        service.startService()
        self._service = service
        self._telling.start(TELL_SECONDS, now=False)
        if service.settings.pprof:
            ProfilingService(self._reactor, self._reactor, PORT + self._number).startService()
        return {}

    @Reconfigure.responder
    def reconfigure(self, settings: dict[str, str]) -> dict[str, Any]:
        self._begun.reconfigure(fromTexts(settings))
        return {}

    @Count.responder
    def count(self) -> dict[str, Any]:
        self._told = self._begun.sample().asDict()
        return {"counts": self._told}

    @Drain.responder
    def drain(self) -> Deferred[dict[str, Any]]:
        drained: Deferred[Any] = self._begun.stopService()
        return drained.addCallback(lambda outcome: {"outcome": outcome})

    @CutNow.responder
    def cutNow(self) -> dict[str, Any]:
        self._begun.cutNow()
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The parent lets us go, or is dead.  In the second case there is nobody to say anything to, and the next
        server may be waiting for our ports: clients are told, if one flush can do it."""
        super().connectionLost(reason)
        if self._telling.running:
            self._telling.stop()
        closed = maybeDeferred(self._service.server.close) if self._service is not None else maybeDeferred(int)
        closed.addBoth(lambda result: self._reactor.stop())

    @property
    def _begun(self) -> WorkerService:
        assert self._service is not None, "the first order must be Begin"
        return self._service

    def _tell(self) -> None:
        counts = self._begun.sample().asDict()
        if counts != self._told:
            self._told = counts
            self.callRemote(Told, counts=counts)


@implementer(ILogObserver)
class _LogToParent:
    """Sends what is logged to the parent.  ``link`` is an AMP."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sending = False

    def __call__(self, event: LogEvent) -> None:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if not text or self._sending or self._link.transport is None:
            return
        level: Any = event.get("log_level") or LogLevel.info
        self._sending = True  # an error of sending must not be sent
        try:
            self._link.callRemote(
                Said, level=level.name, namespace=str(event.get("log_namespace", "-")), text=text[:TEXT_MAX]
            )
        finally:
            self._sending = False


def main(arguments: Sequence[str]) -> None:
    """Run until the parent lets go."""
    _leaveSignals()
    number, reactorModule, ports = int(arguments[0]), arguments[1], int(arguments[2])
    importlib.import_module(reactorModule).install()
    from twisted.internet import reactor  # the parent has chosen it
    from twisted.internet.stdio import StandardIO

    for descriptor in (ORDERS, REPORTS, *range(SOCKETS, SOCKETS + ports)):
        os.set_inheritable(descriptor, False)  # to what a relay target may start
    sockets = [socket.socket(fileno=SOCKETS + index) for index in range(ports)]
    raiseFileLimit(reactor)
    link = WorkerLink(reactor, number, sockets)
    StandardIO(link, ORDERS, REPORTS)  # type: ignore[call-arg]  # mypy looks at that of Windows
    globalLogBeginner.beginLoggingTo([_LogToParent(link)])
    reactor.callWhenRunning(_leaveSignals)  # for it has taken them
    reactor.run()


def _leaveSignals() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)


TELL_SECONDS = 1.0
TEXT_MAX = 10_000  # characters of a line, a traceback perhaps; six bytes each at most

if __name__ == "__main__":
    main(sys.argv[1:])
