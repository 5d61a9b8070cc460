"""A server in several processes: what ``--workers`` makes of it.

::

    parent      opens the sockets, one for each worker at each port, and keeps them; starts the workers, and starts
                again those that end; hears signals; counts, logs, and closes for all of them
    workers     a server each (worker.py), on sockets that they inherit

The parent carries no traffic: nothing that a peer sends can make it fail, and it answers while the workers are busy.
docs/workers.rst tells users what that gives them, and what not.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, TimeoutError, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.addresses import shown
from kcpstack.closing import FAREWELL, Outcome
from kcpstack.counters import Counters
from kcpstack.layers.sharedports import openShared
from kcpstack.listening import listening
from kcpstack.options import ServerSettings
from kcpstack.service import targetOf
from kcpstack.signals import StopSignals
from kcpstack.snmp import Reports
from kcpstack.supervisor import Supervisor
from kcpstack.totals import Totals
from kcpstack.workerlink import tooLong
from kcpstack.workerprocess import WorkerProcess, checkPython

__all__ = ["WorkersService", "together"]

Ended = Callable[[str], None]


class WorkersService(Service):
    """The parent of ``settings.workers`` workers, each of which ``begin`` starts, as WorkerProcess does.  Raises
    ValueError, one line for the user, where that cannot be.

    It is to its surroundings what ServerService is: ``check``, ``reconfigure`` and closing are the same."""

    name = "kcptun server"

    def __init__(
        self, reactor: Any, settings: ServerSettings, begin: Callable[..., WorkerProcess] = WorkerProcess
    ) -> None:
        self.settings = settings
        self.totals = Totals()
        self.reports = Reports(reactor, self.sample)
        self._reactor = reactor
        self._beginWorker = begin
        self._sockets: Sequence[Sequence[socket.socket]] = ()  # by worker, once open
        self._supervisor = Supervisor(reactor, settings.workers, self._launch, self.totals.ended)
        self._lastResort: IDelayedCall | None = None  # while closing
        self.check(settings)

    # IService

    def privilegedStartService(self) -> None:
        """Open the sockets, while twistd still may at a port below 1024.  Raises CannotListenError."""
        super().privilegedStartService()
        self._open()

    def startService(self) -> None:
        """As of IService.  Raises CannotListenError where the user whom twistd has made us by now cannot run Python."""
        super().startService()
        checkPython(f"--workers {self.settings.workers}")
        if not self._sockets:
            self._open()
        self._supervisor.start()
        first, last = shown(self._sockets[0][0].getsockname()), self.settings.listen.last
        _log.info(
            "Listening on UDP {where} with {count} workers, for the target {target}",
            where=f"{first}-{last}" if last else first,
            count=self.settings.workers,
            target=self.settings.target,
        )

    def stopService(self) -> Any:
        """Have all workers close (docs/closing.rst), and end when they have."""
        super().stopService()
        again = StopSignals(self._reactor, self.cutNow)
        again.start()
        self._killAfter(self.settings.closewait + FAREWELL + HUNG_SECONDS)
        left = self._supervisor.leave()
        closing = gatherResults([self._close(worker) for worker in self._supervisor.workers.values()])

        def done(outcomes: list[Outcome | None]) -> None:
            again.stop()
            self.reports.stop()
            if self._lastResort is not None:
                self._lastResort.cancel()
            for sock in (sock for sockets in self._sockets for sock in sockets):
                sock.close()
            self._say(outcomes)

        return closing.addCallback(lambda outcomes: left.addCallback(lambda result: done(outcomes)))

    # What changes under way

    def check(self, settings: ServerSettings) -> None:
        """Raises ValueError, one line for the user, where workers could not take these over."""
        targetOf(self._reactor, settings)
        if tooLong(settings):
            raise ValueError(f"--workers {settings.workers}: give shorter options: 60 KB can be handed to a worker")

    def reconfigure(self, settings: ServerSettings) -> None:
        """As of TunnelService."""
        self.reports.change(settings.snmplog, settings.snmpperiod)
        self.settings = settings
        for worker in self._supervisor.workers.values():
            worker.reconfigure(_forWorkers(settings))

    def sample(self) -> Deferred[Counters]:
        """The sums of now.  A worker that does not answer soon counts as it did when it last told."""
        asked = self._supervisor.workers
        answers = [
            worker.count().addTimeout(ANSWER_SECONDS, self._reactor).addErrback(self._unanswered, number)
            for number, worker in asked.items()
        ]
        return DeferredList(answers, consumeErrors=True).addCallback(lambda results: self.totals.sum())

    def cutNow(self) -> None:
        """Let closing wait no longer."""
        for worker in self._supervisor.workers.values():
            worker.cutNow()
        self._killAfter(FAREWELL + HUNG_SECONDS)

    def _unanswered(self, failure: Failure, number: int) -> None:
        if failure.check(TimeoutError):  # else it has ended, which is said elsewhere
            _log.warn(
                "Worker {number} has not answered within {seconds:g} s: its counters are those that it told before",
                number=number,
                seconds=ANSWER_SECONDS,
            )

    # What it is made of

    def _open(self) -> None:
        settings, listen = self.settings, self.settings.listen
        self.reports.start(settings.snmplog, settings.snmpperiod)
        self._sockets = listening(
            f"--listen {listen}",
            lambda: openShared(listen.host, listen.ports, settings.workers, settings.sockbuf),
            isRange=bool(listen.last),
        )

    def _launch(self, number: int, ended: Ended) -> WorkerProcess:
        return self._beginWorker(
            self._reactor,
            number,
            _forWorkers(self.settings),
            self._sockets[number - 1],
            lambda counts: self.totals.told(number, counts),
            ended,
        )

    def _close(self, worker: WorkerProcess) -> Deferred[Outcome | None]:
        """Fires with what it left undone, or with None where it is not known, when it has been let go."""

        def drained(outcome: Outcome | None) -> Deferred[Outcome | None]:
            counted = worker.count().addErrback(lambda failure: None)  # for the last time
            return counted.addCallback(lambda result: worker.letGo()).addCallback(lambda result: outcome)

        return worker.drain().addCallback(drained)

    def _killAfter(self, seconds: float) -> None:
        """See to it that workers that hang do not keep us for longer than this."""
        if self._lastResort is not None and self._lastResort.active():
            if self._lastResort.getTime() <= self._reactor.seconds() + seconds:
                return
            self._lastResort.cancel()
        self._lastResort = self._reactor.callLater(seconds, self._killAll)

    def _killAll(self) -> None:
        self._lastResort = None
        for number, worker in self._supervisor.workers.items():
            _log.error("Worker {number} does not end: it is killed", number=number)
            worker.kill()

    def _say(self, outcomes: Sequence[Outcome | None]) -> None:
        outcome = together([each for each in outcomes if each is not None])
        failed = sum(1 for each in outcomes if each is None)
        if failed:
            _log.warn(
                "Closed: {failed} of {count} workers ended before they were done, with all that was open on them; "
                "of the others: {outcome}",
                failed=failed,
                count=len(outcomes),
                outcome=outcome,
            )
        else:
            (_log.info if outcome.complete else _log.warn)("Closed: {outcome}", outcome=outcome)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """The sums; the time and the reason are those of whoever took longest of those that left something undone."""
    if not outcomes:
        return Outcome(0.0)
    undone = [outcome for outcome in outcomes if not outcome.complete]
    longest = max(undone or outcomes, key=lambda outcome: outcome.seconds)
    return Outcome(longest.seconds, longest.why, *(sum(counts) for counts in zip(*(each[2:] for each in outcomes))))


def _forWorkers(settings: ServerSettings) -> ServerSettings:
    """Without what the parent does for all."""
    return replace(settings, workers=1, log="", snmplog="")


ANSWER_SECONDS = 2.0
HUNG_SECONDS = 5.0  # beyond what closing may take; a worker that is busy for so long does not hang up by itself

_log = Logger()
