"""A random world: both ends of the tunnel, the network between them and what applications do, all from one seed.

``World(seed)`` draws options, faults and applications; ``run()`` plays it on virtual time and checks, all
along, that each application got the right bytes in the right order, and at the end that nothing is
left: no stream, no session, no timer.  ``python tests/simulation/world.py SEED`` replays one seed and prints it.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.options import Address, ClientSettings, ServerSettings
from kcpstack.server import Server
from kcpstack.stack import Surroundings
from kcpstack.testing.network import SimulatedNetwork, advanceUntil

SERVER = ("10.0.0.1", 29900)
PATIENCE = 3600  # virtual seconds; the worst worlds lose a third of all datagrams
STREAM_BYTES = 60_000


def payload(seed: int, name: str, length: int) -> bytes:
    """The bytes that one application writes: known to the other end, different for each."""
    return random.Random(f"{seed} {name}").randbytes(length)


@implementer(IHalfCloseableProtocol)
class Application(Protocol):
    """Writes its payload in pieces, now and then; reads, now and then; ends its direction."""

    def __init__(self, world: World, name: str, sends: bytes, expects: bytes) -> None:
        self.world = world
        self.name = name
        self.rng = random.Random(f"{world.seed} {name}")
        self.sends = memoryview(sends)
        self.expects = expects
        self.received = 0
        self.wasPaused = False
        self.heardEnd = False
        self.lost: Any = None

    def connectionMade(self) -> None:
        self.later(self.step)

    def later(self, call: Any) -> None:
        self.world.clock.callLater(self.rng.choice((0, 0, 0.001, 0.02, 0.3)), call)

    def step(self) -> None:
        """Write some, pause or go on reading, or end."""
        if self.lost is not None:
            return
        if self.wasPaused:
            self.transport.resumeProducing()
        self.wasPaused = self.rng.random() < 0.2
        if self.wasPaused:
            self.transport.pauseProducing()
        size = self.rng.choice((1, 100, 1300, 5000, 20_000))
        piece, self.sends = bytes(self.sends[:size]), self.sends[size:]
        if piece:
            self.transport.write(piece)
        if not self.sends and not self.wasPaused:
            self.transport.loseWriteConnection()
        else:
            self.later(self.step)

    def dataReceived(self, data: bytes) -> None:
        expected = self.expects[self.received : self.received + len(data)]
        assert data == expected, f"{self.name}: wrong bytes at {self.received}"
        self.received += len(data)

    def readConnectionLost(self) -> None:
        assert self.received == len(self.expects), f"{self.name}: ended after {self.received} bytes"
        self.heardEnd = True

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        assert self.lost is None, f"{self.name}: lost twice"
        self.lost = reason
        assert self.heardEnd, f"{self.name}: lost before the end: {reason.getErrorMessage()}"


class World:
    """Everything, drawn from ``seed``.  ``fixed`` overrides options of both ends, ``faults`` the network's."""

    def __init__(self, seed: int, fixed: dict[str, Any] | None = None, faults: dict[str, Any] | None = None) -> None:
        self.seed = seed
        self.clock = Clock()
        rng = self.rng = random.Random(f"world {seed}")
        crypt = rng.choice(("aes", "aes-128", "aes-192", "xor", "none", "null"))
        fixed = {"crypt": crypt, **(fixed or {})}
        self.clientSettings = ClientSettings(
            remoteaddr=Address(*SERVER), smuxver=rng.choice((1, 2)), **{**self.drawOptions(), **fixed}
        )
        self.serverSettings = ServerSettings(**{**self.drawOptions(), **fixed})
        self.faults = {**self.drawFaults(fixed["crypt"]), **(faults or {})}
        self.network = SimulatedNetwork(self.clock, seed, **self.faults)
        self.applications: list[Application] = []
        self.wanted = rng.choice((1, 1, 2, 5, 12))
        self.build()

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
            "smuxbuf": rng.choice((streambuf, 4_194_304)),
        }

    def drawFaults(self, crypt: str) -> dict[str, Any]:
        rng = self.rng
        losses = [0.0, 0.01, 0.05]
        if self.clientSettings.nodelay and self.serverSettings.nodelay:
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

    def build(self) -> None:
        self.serverCounters, self.clientCounters = Counters(), Counters()
        around = Surroundings(self.clock, self.serverCounters, random.Random(f"server {self.seed}").randbytes)
        factory = Factory.forProtocol(lambda: None)
        factory.buildProtocol = lambda address: self.application("server")
        self.server = Server(
            self.serverSettings, around, self.network.transport(SERVER, counters=self.serverCounters), factory
        )
        self.server.open()
        around = Surroundings(self.clock, self.clientCounters, random.Random(f"client {self.seed}").randbytes)
        self.client = Client(
            self.clientSettings,
            around,
            lambda peer: self.network.transport(peer=peer, counters=self.clientCounters),
            defer.succeed,
        )

    def application(self, end: str) -> Application:
        """The next one of this end.  Streams open in order, so both ends count alike."""
        number = sum(1 for application in self.applications if application.name.startswith(end))
        up = payload(self.seed, f"up {number}", random.Random(f"{self.seed} {number}").randrange(STREAM_BYTES))
        down = payload(self.seed, f"down {number}", random.Random(f"{self.seed} -{number}").randrange(STREAM_BYTES))
        sends, expects = (up, down) if end == "client" else (down, up)
        application = Application(self, f"{end} {number}", sends, expects)
        self.applications.append(application)
        return application

    def run(self) -> None:
        """Play it.  Raises AssertionError, with the seed and what the network did, where a promise breaks."""
        for _ in range(self.wanted):
            self.client.openStream(self.application("client"))
        try:
            assert advanceUntil(self.clock, self.over, PATIENCE), f"not over: {self.unfinished()}"
            self.checkTheEnd()
        except Exception as error:
            raise AssertionError(f"{error}\n{self}\n{self.network.history()}") from error

    def over(self) -> bool:
        return len(self.applications) == 2 * self.wanted and all(a.lost is not None for a in self.applications)

    def unfinished(self) -> list[str]:
        return [f"{a.name}: {a.received} of {len(a.expects)}" for a in self.applications if a.lost is None]

    def checkTheEnd(self) -> None:
        for application in self.applications:
            assert application.received == len(application.expects)
        for conversation in [*self.server.conversations(), *(link.conversation for link in self.client.links)]:
            arq = conversation.arq
            assert advanceUntil(self.clock, lambda arq=arq: not arq.unsent and not arq.unacknowledged, PATIENCE)
        self.client.close()
        self.server.close()
        assert self.server.conversations() == [] and self.client.links == []
        for counters in (self.serverCounters, self.clientCounters):
            assert counters.CurrEstab == 0
            assert counters.RetransSegs == (
                counters.LostSegs + counters.FastRetransSegs + counters.EarlyRetransSegs
            )
        self.clock.advance(1)
        assert self.clock.getDelayedCalls() == [], "timers are left"

    def __str__(self) -> str:
        return (
            f"World({self.seed}): replay with `python tests/simulation/world.py {self.seed}`\n"
            f"client {self.clientSettings}\nserver {self.serverSettings}\nfaults {self.faults}"
        )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        world = World(int(argument))
        print(world)
        world.run()
        print(f"{world.clock.seconds():.1f} virtual seconds; every byte arrived")
