"""A random world in which things happen: ends restart, drain and take over new settings, sessions expire, and the path
is cut, moves, or becomes too narrow.

``EventfulWorld(seed)`` draws all that too.  Where nothing may cost a stream (``mayLose`` is False) each must end
cleanly with all its bytes; elsewhere what an application hears must be a beginning, and a clean end must be all of it.
In every world: a drain that says that all is complete says the truth; when the trouble is over new streams work; the log
finds nothing wrong with a path or a set-up that is well; nothing is left in the end.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any
from unittest import mock

from counterrelations import assertOneEnd
from plannedworld import BOTH_ENDS, LONG, Event, PlannedWorld
from twisted.internet import defer, task
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import LogLevel, formatEvent
from twisted.python.failure import Failure
from world import CLIENT_END, SERVER, SERVER_END, Life
from worldapplications import LAST, Application

from kcpstack.closing import Outcome
from kcpstack.kernels.pathcheck import Verdict
from kcpstack.layers import portrange
from kcpstack.options import Settings, restartless
from kcpstack.options.table import CLIENT, NEW_SESSIONS
from kcpstack.pathfaults import TEXTS

__all__ = ["EventfulWorld"]

BURST_SHORT = 2.0  # datagrams in a row that are lost
RECOVERY = 90.0  # s; after which new streams must work


class EventfulWorld(PlannedWorld):
    """See above."""

    # ------------------------------------------------------------ what there is

    def listeningTransport(self, life: Life) -> Any:
        if len(self.ports) == 1:
            return self.socket(life, (SERVER[0], self.ports[0]))

        def simulated(reactor: Any, counters: Any, host: str, port: int, **options: Any) -> Any:
            return self.socket(life, (host, port))

        with mock.patch.object(portrange, "UDPTransport", simulated):
            return portrange.UDPRange(self.clock, life.counters, SERVER[0], self.ports)

    def resolveName(self, host: str) -> defer.Deferred[str]:
        if not self.resolving:
            return defer.succeed(host)
        return task.deferLater(self.clock, self.resolving, lambda: host)

    # ------------------------------------------------------------ what happens

    def play(self) -> None:
        if self.isStarted:
            self.client.start()
        for stream, at in self.opens.items():
            self.clock.callLater(at, self.openWanted, stream)
        for event in self.events:
            self.clock.callLater(event.at, self.happen, event)
        assert self.until(self.over), f"not over: {self.unfinished()}, {self.pending} events"
        for application in self.applications if not self.mayLose else ():
            if self.isPolite(application):
                self.assertWhole(application)
        self.checkItWorks()
        assert self.mayLose or not self.complaints(), self.complaints()
        self.checkTheEnd()
        self.checkTheLog()

    def over(self) -> bool:
        return self.pending == 0 and all(a.lost is not None for a in self.applications)

    def openWanted(self, stream: int) -> None:
        self.pending -= 1
        if self.lifeOf(CLIENT_END).gone:
            self.application(CLIENT_END).failed(Failure(ConnectionRefusedError()))
        else:
            self.open(stream)

    def happen(self, event: Event) -> None:
        if not getattr(self, event.name)(**event.facts):
            self.pending -= 1

    def happened(self) -> None:
        """What ``happen`` began, and said so by returning True, is over."""
        self.pending -= 1

    def reconfigureClient(self, changes: dict[str, Any]) -> None:
        """As ClientService does."""
        life = self.lifeOf(CLIENT_END)
        before, after = life.settings, replace(life.settings, **changes)
        renew = any(option.reloadFor(CLIENT) == NEW_SESSIONS for option in before.changed(after))
        self.takeOver(life, after)
        life.it.reconfigure(after, renew)

    def reconfigureServer(self, changes: dict[str, Any]) -> None:
        """As ServerService does."""
        life = self.lifeOf(SERVER_END)
        after = restartless(SERVER_END, life.settings, replace(life.settings, **changes))
        self.takeOver(life, after)
        life.it.reconfigure(after)

    def takeOver(self, life: Life, settings: Settings) -> None:
        life.settings = settings
        for conversation in life.conversations():
            conversation.session.setRate(settings.ratelimit)

    def restart(
        self, end: str, how: Any, gap: float, changes: dict[str, Any], secrets: dict[str, Any] | None = None
    ) -> bool:
        """One end leaves, told to or not, and comes back ``gap`` seconds later."""
        life = self.lifeOf(end)
        if life.left:
            self.hasten(life, how)
            return False
        left = self.leave(life, how)
        left.addCallback(self.checkOutcome, end, how)
        left.addCallback(lambda result: task.deferLater(self.clock, gap, self.comeBack, end, changes, secrets or {}))
        left.addCallback(lambda result: self.happened())
        left.addErrback(self.raised.append)
        return True

    def comeBack(self, end: str, changes: dict[str, Any], secrets: dict[str, Any]) -> None:
        settings: Any = replace(self.lifeOf(end).settings, **changes, **secrets)
        if end == CLIENT_END:
            self.client = self.newClient(settings)
            if self.isStarted:
                self.client.start()
            return
        self.server = self.newServer(settings)
        if secrets:
            self.reconfigureClient(secrets)

    def leave(self, life: Life, how: Any) -> defer.Deferred[Any]:
        """Close, crash or drain for so many seconds.  Fires when it is over."""
        life.left = True
        if how == "crash":
            for socket in life.sockets:
                socket.stopListening()
        if how in ("crash", "close", None):
            life.it.close()
            if life.relays is not None:
                life.relays.abort()
            self.assertOver(life)
            return defer.succeed(None)
        alive = [a for a in life.applications if self.hasStream(a) and a.lost is None]
        return life.it.drain(how, life.relays).addCallback(self.drained, life, alive)

    def hasStream(self, application: Application) -> bool:
        """Whether there is one; before a relay has its stream, an application is connected all the same."""
        waits = self.isRelayed and application.end == CLIENT_END and application not in self.streams.values()
        return application.connectedAt is not None and not waits

    def checkOutcome(self, outcome: Outcome | None, end: str, how: Any) -> None:
        """Who has all the time there is, in a world where nothing else happens, loses nothing."""
        others = [event for event in self.events if self.isHarsh(event)]
        if how == LONG and len(others) == 1 and not (self.isRebound or self.scavenges or self.callsInVain or self.isSluggish):
            assert outcome is not None and outcome.complete, f"{end}: {outcome}"

    def hasten(self, life: Life, how: Any) -> None:
        """Whoever drains is asked again."""
        if how in ("crash", "close"):
            life.it.close()
        elif how:
            life.it.cutNow()
        else:
            life.it.drain(how).addCallback(lambda outcome: self.assertOver(life))

    def drained(self, outcome: Outcome, life: Life, alive: list[Application]) -> Outcome:
        self.assertOver(life)
        for application in alive if outcome.complete else ():
            # What is in a TCP connection then is still on its way to the application, and who has paused will take the rest.
            stalls = self.isRelayed or application.wasPaused
            assert application.lost is not None or stalls, f"{application} has not ended: {outcome}"
            if self.isPolite(application) and not self.cuts(CLIENT_END if life.end == SERVER_END else SERVER_END):
                assert application.isClean or application.lost is None, f"{application} was cut: {outcome}"
                self.promised.append(application)
        return outcome

    def assertOver(self, life: Life) -> None:
        life.gone = True
        assert life.conversations() == [], f"{life.end} has sessions left"
        assert life.counters.CurrEstab == 0

    def cut(self, seconds: float, ends: tuple[str, ...]) -> bool:
        """Nothing that these ends send arrives for so long."""
        self.mute.extend(ends)
        self.silence()
        self.clock.callLater(seconds, self.uncut, ends)
        return True

    def uncut(self, ends: tuple[str, ...]) -> None:
        for end in ends:
            self.mute.remove(end)
        self.silence()
        self.happened()

    def silence(self) -> None:
        """Let nothing pass from the ends that are mute."""
        sockets = {end: [each for life in self.lives if life.end == end for each in life.sockets] for end in BOTH_ENDS}
        for end, others in (BOTH_ENDS, BOTH_ENDS[::-1]):
            for source, destination in product(sockets[end], sockets[others]):
                self.network.direction(source, destination).configure(cut=end in self.mute)

    def socket(self, life: Life, address: Any = None, peer: Any = None) -> Any:
        socket = super().socket(life, address, peer)
        if self.mute:
            self.silence()
        return socket

    def narrow(self, mtu: int, seconds: float) -> bool:
        """The path carries no longer datagrams than these for so long, and nobody says so."""
        self.network.configure(mtu=mtu)
        self.clock.callLater(seconds, self.healed, mtu=self.guard)
        return True

    def healed(self, **faults: Any) -> None:
        self.network.configure(**faults)
        self.happened()

    def rebind(self) -> None:
        """A NAT has forgotten all sockets of the client."""
        for socket in self.lifeOf(CLIENT_END).sockets:
            self.moves += 1
            socket.rebind((f"10.77.{self.moves >> 8}.{self.moves & 255}", 40_000))

    # ------------------------------------------------------------ what must be so

    def checkItWorks(self) -> None:
        """The trouble is over: where both ends are there, streams work again."""
        deadline = self.clock.seconds() + RECOVERY
        works, stream = False, LAST
        while not works:
            application = self.open(stream)
            stream += 1
            assert self.until(self.over, RECOVERY), f"it hangs: {self.unfinished()}"
            works = application.isClean and application.isComplete
            assert works or self.mayLose, f"{application} failed: {application.lost.getErrorMessage()}"
            assert works or self.clock.seconds() < deadline, f"streams fail: {application.lost.getErrorMessage()}"
            self.until(lambda: False, self.more.uniform(0.5, 3))

    def checkTheEnd(self) -> None:
        self.settle()
        for end, seconds, pause in self.farewells:
            left: list[Any] = []
            self.leave(self.lifeOf(end), seconds).addBoth(left.append)
            assert self.until(lambda: left, (seconds or 0) + 2), f"the {end}'s drain is not over"  # noqa: B023
            assert left[0] is None or left[0].complete, f"{end}: {left[0]}"
            self.until(lambda: False, pause)
        for application in self.promised:
            listener = self.heard[application.number]
            assert listener.received == len(application.whole), f"{application}: not all was heard by {listener}"
            assert application.isClean, f"{application} was cut"
        self.checkNothingIsLeft()
        for life in self.lives if not self.mayLose else ():
            assertOneEnd(life.counters.asDict(), self.guard)
        for life in self.lives if not self.disagrees else ():
            assert life.counters.KCPInErrors == 0, f"the {life.end} got {life.counters.KCPInErrors} that no peer sends"
        if not self.isNarrow:
            assert not any(tally["tooLong"] for tally in self.network.tallies().values()), "longer than --mtu"

    def complaints(self) -> list[str]:
        """Lines that say that a session failed, or that a server which is there does not answer."""
        lossy = self.faults.get("loss", 0) > 0.01 or self.faults.get("burst", 0) > BURST_SHORT
        mayWait = lossy or any(event.name == "rebind" for event in self.events)
        return [
            formatEvent(event)
            for _, event in self.warnings
            if event["log_level"] > LogLevel.warn or ("leaves us waiting" in event["log_format"] and not mayWait)
        ]

    def checkTheLog(self) -> None:
        """Nothing is said to be wrong that is well."""
        for _, event in self.warnings:
            line = formatEvent(event)
            form = event["log_format"]
            if form.startswith(tuple(TEXTS.values())):
                self.checkPathFault(event, form.startswith(TEXTS[Verdict.TOO_LARGE]), line)
            assert self.disagrees or not form.startswith("Datagrams from {peer}"), line
            assert "--datashard" not in form, line

    def checkPathFault(self, fault: dict[str, Any], tooLarge: bool, line: str) -> None:
        if tooLarge:
            assert fault["size"] > min((each.facts.get("mtu", self.guard) for each in self.events), default=self.guard), line
        else:
            # Bursts are so many datagrams long: where only probes are sent, one can last for as long as a verdict takes.
            cut = any(len(each.facts.get("ends", ())) == 1 for each in self.events)
            assert cut or self.faults.get("burst", 0) > BURST_SHORT, line
