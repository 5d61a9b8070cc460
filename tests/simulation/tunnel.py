"""Both ends of the tunnel on virtual time, with a simulated network between them."""

from __future__ import annotations

import random

from twisted.internet import defer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.options import Address, ClientSettings, ServerSettings
from kcpstack.seams import layersOf
from kcpstack.server import Server
from kcpstack.stack import Surroundings
from kcpstack.testing.network import SimulatedNetwork, advanceUntil

SERVER = ("10.0.0.1", 29900)


class Recorder(Protocol):
    def __init__(self, asks: bytes = b"") -> None:
        self.received = bytearray()
        self.lost = None
        self.asks = asks

    def connectionMade(self) -> None:
        self.transport.write(self.asks)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason) -> None:
        self.lost = reason


class Echo(Recorder):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)


class Tunnel:
    """A server that gives each stream a protocol of ``serves``, and a client.  ``options`` are both ends',
    ``client`` the client's own; ``faults`` are the network's.  ``layers`` are what both ends are made of, or
    the client alone where there are ``serverLayers``."""

    def __init__(
        self,
        serves=Echo,
        listening: bool = True,
        resolveName=defer.succeed,
        faults=None,
        client=None,
        layers=layersOf,
        serverLayers=None,
        **options,
    ) -> None:
        self.clock = Clock()
        self.network = SimulatedNetwork(self.clock, 1, **{"delay": 10.0, **(faults or {})})
        self.options = options
        self.clientOptions = {"remoteaddr": Address(*SERVER), **(client or {})}
        self.layers, self.serverLayers = layers, serverLayers or layers
        self.serves = serves
        self.served: list = []
        self.server = None
        if listening:
            self.startServer()
        self.counters = Counters()
        self.sockets: list = []
        self.dialled: list = []  # (host, port) of each
        self.client = self.newClient(resolveName)

    def newClient(self, resolveName=defer.succeed) -> Client:
        return Client(
            ClientSettings(**self.clientOptions, **self.options),
            Surroundings(self.clock, self.counters, random.Random(2 + len(self.sockets)).randbytes, self.layers),
            lambda peer: self.newSocket(peer),
            resolveName,
        )

    def startServer(self, factory=None) -> None:
        """Start a server, or another one where the last has closed its socket."""
        if factory is None:
            factory = Factory()
            factory.buildProtocol = lambda address: self.served.append(self.serves()) or self.served[-1]
        around = Surroundings(self.clock, Counters(), random.Random(1).randbytes, self.serverLayers)
        self.transport = self.network.transport(SERVER)
        self.server = Server(ServerSettings(**self.options), around, self.transport, factory)
        self.server.open()

    def newSocket(self, peer):
        self.dialled.append(peer)
        self.sockets.append(self.network.transport(peer=peer, counters=self.counters))
        return self.sockets[-1]

    def open(self, asks: bytes = b"") -> Recorder:
        """A stream on which ``asks`` is written as soon as there is one."""
        recorder = Recorder(asks)
        opened = self.client.openStream(recorder)
        opened.addErrback(recorder.connectionLost)
        return recorder

    def run(self, condition, seconds: float = 60) -> bool:
        """Whether ``condition()`` comes true in so many seconds."""
        return advanceUntil(self.clock, condition, seconds)

    def advance(self, seconds: float) -> None:
        self.run(lambda: False, seconds)


class Endless:
    """A producer that writes whenever it may."""

    def __init__(self, transport) -> None:
        self.transport = transport
        self.written = 0
        self.running = True
        transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self):
        self.running = False

    def resumeProducing(self):
        self.running = True
        while self.running:
            self.written += 10_000
            self.transport.write(b"e" * 10_000)

    def stopProducing(self):
        self.running = False
