"""A random world: both ends of the tunnel, the network between them and what applications do, all from one seed.

``World(seed)`` draws options, faults and applications; ``run()`` plays it on virtual time and checks, all
along, that each application got the right bytes in the right order and that the invariants hold (invariants.py), and
at the end that nothing is left: no stream, no session, no timer.  Nothing happens in it but that; for the rest see
eventfulworld.py.

``python tests/simulation/world.py SEED`` replays one seed of the eventful ones and prints it (replay.py).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]  # of the checkout
if __name__ == "__main__":  # its own code is replayed, whatever is installed
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from highnumbers import numbersBefore
from invariants import Invariants
from relays import clientRelays, connectRelayed, serverRelays
from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from worldapplications import Application
from worldclock import WorldClock

from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.options import Address, ClientSettings, ServerSettings, Settings
from kcpstack.seams import layersOf
from kcpstack.server import Server
from kcpstack.stack import Surroundings
from kcpstack.testing.network import SimulatedNetwork, SimulatedTransport

__all__ = ["CIPHERS", "CLIENT_END", "OTHER_CIPHERS", "SERVER", "SERVER_END", "SLOW_CIPHERS", "Life", "World"]

SERVER = ("10.0.0.1", 29900)
CLIENT_END, SERVER_END = "client", "server"
PATIENCE = 3600  # virtual seconds; the worst worlds lose a third of all datagrams
STREAM_BYTES = 60_000
CIPHERS = ("aes", "aes-128", "aes-192", "xor", "none", "null")
OTHER_CIPHERS = ("aes-128-gcm", "blowfish", "cast5", "3des", "sm4", "salsa20")
SLOW_CIPHERS = ("tea", "xtea", "twofish")  # plain Python here: rarely, and for less
SLOW_BYTES = 4_000
SMUXBUF_MIN = 65_536


# Looked up once, not for each session: that takes longer than all that a short one does.
sharedLayersOf = lru_cache(None)(layersOf)


@dataclass
class Life:
    """One process of an end, from its start to its end."""

    end: str
    settings: Settings
    counters: Counters = field(default_factory=Counters)
    it: Any = None  # its Client or Server
    left: bool = False  # or about to
    gone: bool = False
    sessions: int = 0  # after the last step
    sentWhenGone: int | None = None  # datagrams
    sockets: list[SimulatedTransport] = field(default_factory=list)
    applications: list[Application] = field(default_factory=list)
    relays: Any = None  # the factory, in a world that has them

    def __str__(self) -> str:
        return self.end

    def conversations(self) -> list[Any]:
        """Those of now."""
        return self.it.conversations() if self.end == SERVER_END else [link.conversation for link in self.it.links]


class World:
    """Everything, drawn from ``seed``.  ``fixed`` overrides options of both ends, ``faults`` the network's;
    ``without`` are the parts of a plan that are left out once all is drawn (leavingout.py)."""

    streamBytes = STREAM_BYTES
    numbersLeft = 0  # segments until the numbers of sessions wrap; 0 where they begin as they do
    isHeavy = False  # do sessions carry more than their buffers hold?
    isRelayed = False  # are applications on TCP connections that relays join to streams?
    plannedCalls = 10  # delayed calls of its own at most

    def __init__(
        self,
        seed: int,
        fixed: dict[str, Any] | None = None,
        faults: dict[str, Any] | None = None,
        without: Iterable[str] = (),
    ) -> None:
        self.seed = seed
        self.without = tuple(without)
        self.clock = WorldClock()
        rng = self.rng = random.Random(f"world {seed}")
        fixed = {**self.drawSecrets(), **(fixed or {})}
        if fixed["crypt"] in SLOW_CIPHERS:
            self.streamBytes = SLOW_BYTES
        self.clientSettings = ClientSettings(
            remoteaddr=Address(*SERVER), smuxver=rng.choice((1, 2)), **{**self.drawOptions(), **fixed}
        )
        self.serverSettings = ServerSettings(**{**self.drawOptions(), **fixed})
        self.faults = {**self.drawFaults(fixed["crypt"]), **(faults or {})}
        self.network = SimulatedNetwork(self.clock, seed, **self.faults)
        self.applications: list[Application] = []
        self.speakers: dict[int, Application] = {}  # by number
        self.streams: dict[tuple[int, int], Application] = {}  # the client's, by conversation and stream number
        self.heard: dict[int, Application] = {}  # by the number that it has heard
        self.raised: list[Any] = []  # failures in the log
        self.warnings: list[tuple[float, dict[str, Any]]] = []  # from the log, with the time in seconds
        self.wanted = rng.choice((1, 1, 2, 5, 12))
        self.lives: list[Life] = []
        self.build()
        self.invariants = Invariants(self)
        self.clock.afterStep = self.invariants.look

    def drawSecrets(self) -> dict[str, Any]:
        """What both ends must agree on."""
        crypt = self.rng.choice(CIPHERS)
        rng = random.Random(f"secrets {self.seed}")
        other = rng.random()
        if other < 0.4:
            crypt = rng.choice(OTHER_CIPHERS if other > 0.02 else SLOW_CIPHERS)
        return {
            "crypt": crypt,
            "key": rng.choice(("it's a secrect", "a key of our own")),
            "QPP": rng.random() < 0.2,
            "QPPCount": rng.choice((1, 2, 7, 61)),
        }

    def drawOptions(self) -> dict[str, Any]:
        rng = self.rng
        data, parity = rng.choice(((0, 0), (10, 3), (5, 2), (3, 1), (2, 2)))
        streambuf = rng.choice((16_384, 2_097_152))
        return {
            "mode": rng.choice(("normal", "fast", "fast2", "fast3", "default")),
            "mtu": rng.choice((200, 576, 1200, 1350, 1400, 1500)),
            "sndwnd": rng.choice((8, 128, 1024)),
            "rcvwnd": rng.choice((8, 128, 1024)),
            "datashard": data,
            "parityshard": parity,
            "nocomp": rng.random() < 0.5,
            "acknodelay": rng.random() < 0.2,
            "framesize": rng.choice((100, 8192, 65535)),
            "streambuf": streambuf,
            "smuxbuf": rng.choice((max(streambuf, SMUXBUF_MIN), 4_194_304)),
        }

    def drawFaults(self, crypt: str) -> dict[str, Any]:
        rng = self.rng
        losses = [0.0, 0.01, 0.05]
        if self.isEager():
            losses.append(0.2)  # with a doubling RTO a segment can take 30 s then, and smux gives up
        if rng.random() < 0.2:
            return {"delay": 10.0}
        return {
            "delay": rng.choice((1.0, 20.0, 150.0)),
            "jitter": rng.choice((0.0, 5.0)),
            "loss": rng.choice(losses),
            "reorder": rng.choice((0.0, 0.05)),
            "duplicate": rng.choice((0.0, 0.02)),
            "corrupt": 0.0 if crypt == "null" else rng.choice((0.0, 0.01)),  # null has no checksum
        }

    def isEager(self) -> bool:
        """Whether both ends go on sending again at short intervals."""
        return bool(self.clientSettings.nodelay and self.serverSettings.nodelay)

    # ------------------------------------------------------------ what there is

    def build(self) -> None:
        self.server = self.newServer(self.serverSettings)
        self.client = self.newClient(self.clientSettings)

    def newServer(self, settings: ServerSettings) -> Server:
        """Start one."""
        life = self.begun(SERVER_END, settings)
        self.serverCounters = life.counters
        factory = Factory()
        factory.buildProtocol = lambda address: self.application(SERVER_END, life)
        if self.isRelayed:
            factory = life.relays = serverRelays(self, life)
        life.it = Server(settings, self.around(life), self.listeningTransport(life), factory)
        life.it.open()
        return life.it

    def newClient(self, settings: ClientSettings) -> Client:
        """Make one."""
        life = self.begun(CLIENT_END, settings)
        self.clientCounters = life.counters
        life.it = Client(settings, self.around(life), lambda peer: self.socket(life, peer=peer), self.resolveName)
        if self.isRelayed:
            life.relays = clientRelays(self, life)
        return life.it

    def begun(self, end: str, settings: Settings) -> Life:
        self.lives.append(Life(end, settings))
        return self.lives[-1]

    def around(self, life: Life) -> Surroundings:
        number = sum(1 for other in self.lives if other.end == life.end)
        name = life.end if number == 1 else f"{life.end} {number}"
        return Surroundings(self.clock, life.counters, random.Random(f"{name} {self.seed}").randbytes, sharedLayersOf)

    def listeningTransport(self, life: Life) -> Any:
        return self.socket(life, SERVER)

    def socket(self, life: Life, address: Any = None, peer: Any = None) -> SimulatedTransport:
        life.sockets.append(self.network.transport(address, peer, counters=life.counters))
        return life.sockets[-1]

    def resolveName(self, host: str) -> defer.Deferred[str]:
        return defer.succeed(host)

    def lifeOf(self, end: str) -> Life:
        """The one of now."""
        return next(life for life in reversed(self.lives) if life.end == end)

    def application(self, end: str, life: Life | None = None) -> Application:
        """Another one."""
        application = Application(self, end)
        self.applications.append(application)
        (life or self.lifeOf(end)).applications.append(application)
        return application

    def introduce(self, application: Application, stream: int, again: int = 0) -> None:
        """Tell an application who it is: what it does depends on that alone, whoever else there is."""
        rng = random.Random(f"{self.seed} {application.end} {stream} {again}")
        application.become(stream, again, *self.drawCharacter(rng, stream))
        self.speakers[application.number] = application

    def connected(self, application: Application) -> None:
        """A client's has its stream, or what leads there; or a server's has, and knows by it whom it answers."""
        stream = application.relayedStream or application.transport
        if application.end == CLIENT_END:
            if not self.isRelayed:
                self.streamOpened(application, stream)
            return
        caller = self.streams.get((stream.getPeer().conv, stream.streamID))
        assert caller is not None, f"nobody has opened stream {stream.streamID} of {stream.getPeer()}"
        caller.answers += 1
        self.introduce(application, caller.stream, caller.answers - 1)

    def streamOpened(self, application: Application, stream: Any) -> None:
        """A client's application has ``stream``, perhaps behind a relay."""
        self.streams[stream.getPeer().conv, stream.streamID] = application

    def drawCharacter(self, rng: random.Random, stream: int) -> Any:
        """The length of an application of that stream, and perhaps its manner and pace."""
        return (rng.randrange(self.streamBytes),)

    def meet(self, listener: Application, number: int) -> Application:
        """Who has written ``number``: one of the other end and the same stream, whom nobody else hears.  (A server that
        was started again may hear what the last one has heard, where that could not tell the client.)"""
        assert number in self.speakers, f"{listener}: hears the number {number}"
        speaker = self.speakers[number]
        assert speaker.end != listener.end and speaker.stream == listener.stream, f"{listener}: hears {speaker}"
        first = self.heard.get(number)
        forgotten = any(life.left and first in life.applications for life in self.lives)
        assert forgotten or speaker.peer in (None, listener), f"{listener} hears {speaker}, who hears {speaker.peer}"
        assert first is None or forgotten, f"{listener} hears {speaker}, whom {first} has heard"
        self.heard[number] = listener
        return speaker

    # ------------------------------------------------------------ what happens

    def run(self) -> None:
        """Play it.  Raises AssertionError, with the seed and what the network did, where a promise breaks."""
        globalLogPublisher.addObserver(self.logged)
        try:
            with numbersBefore(self.numbersLeft):
                self.play()
            assert not self.raised, "something raised"
        except Exception as error:
            why = [error, *(each.getErrorMessage() for each in self.raised)]
            lines = [f"{at:10.3f} s  {formatEvent(event)}" for at, event in self.warnings]
            raise AssertionError("\n".join(map(str, (*why, self, *lines, self.network.history())))) from error
        finally:
            globalLogPublisher.removeObserver(self.logged)

    def logged(self, event: dict[str, Any]) -> None:
        """What an application raises ends its stream only; here it is kept."""
        if "log_failure" in event:
            self.raised.append(event["log_failure"])
        if event["log_level"] >= LogLevel.warn:
            self.warnings.append((self.clock.seconds(), event))

    def play(self) -> None:
        for stream in range(self.wanted):
            self.open(stream)
        assert self.until(self.over), f"not over: {self.unfinished()}"
        for application in self.applications:
            self.assertWhole(application)
        self.checkTheEnd()

    def open(self, stream: int) -> Application:
        """Open this stream for an application of the client's."""
        application = self.application(CLIENT_END)
        self.introduce(application, stream)
        if self.isRelayed:
            connectRelayed(self, self.lifeOf(CLIENT_END), application)
        else:
            self.client.openStream(application).addErrback(application.failed)
        return application

    def until(self, condition: Any, seconds: float = PATIENCE) -> bool:
        return self.clock.advanceUntil(condition, seconds)

    def over(self) -> bool:
        return len(self.applications) == 2 * self.wanted and all(a.lost is not None for a in self.applications)

    def unfinished(self) -> list[str]:
        return [f"{a}: has {a.received} of {a.peer}" for a in self.applications if a.lost is None]

    def assertWhole(self, application: Application) -> None:
        """It has got everything and ended cleanly."""
        assert application.isComplete, f"{application}: {application.received} bytes of {application.peer}"
        assert application.isClean, f"{application}: {application.lost.getErrorMessage()}"

    def settle(self) -> None:
        """Wait until all that was written has been acknowledged, but for what idle sessions say now and then."""
        for session in [each.session for life in self.lives for each in life.conversations()]:
            arq = session.arq
            quiet = self.until(lambda: not (session.connected and (arq.unsent or arq.unacknowledged)))  # noqa: B023
            assert quiet, f"{session} has {arq.unsent} bytes unsent, {arq.unacknowledged} segments unacknowledged"

    def checkTheEnd(self) -> None:
        self.settle()
        self.client.close()
        self.server.close()
        self.checkNothingIsLeft()

    def checkNothingIsLeft(self) -> None:
        self.clock.advanceUntil(lambda: False, 1)
        for life in self.lives:
            assert life.conversations() == [], f"a {life.end} has {life.conversations()} left"
            counters = life.counters
            assert counters.CurrEstab == 0
            assert life.relays is None or not life.relays._relays, "relays are left"
            assert counters.RetransSegs == (
                counters.LostSegs + counters.FastRetransSegs + counters.EarlyRetransSegs
            )
        assert self.clock.getDelayedCalls() == [], "timers are left"

    @property
    def command(self) -> str:
        """What replays it, typed at the root of the checkout."""
        python = Path(sys.executable)
        shown = python.relative_to(ROOT) if ROOT in python.parents else python
        without = f" --without {','.join(self.without)}" if self.without else ""
        return f"{shown} tests/simulation/world.py {self.seed}{without}"

    def __str__(self) -> str:
        return (
            f"{type(self).__name__}({self.seed}): replay with `{self.command}`\n"
            f"client {self.clientSettings}\nserver {self.serverSettings}\nfaults {self.faults}"
        )


if __name__ == "__main__":
    from replay import main

    sys.exit(main())
