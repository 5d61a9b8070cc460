"""kcp: endpoints on virtual time: a simulated network, protocols that remember, and an account of what is left over."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorCore
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from kcpstack.endpoints import KCPClientEndpoint, KCPServerEndpoint
from kcpstack.interfaces import IDatagramTransportFactory
from kcpstack.testing.network import SimulatedNetwork, advanceUntil

HOST, PORT = "10.0.0.1", 29900


class Recorder(Protocol):
    """Remembers what happens.  ``asks`` is written at once."""

    def __init__(self, asks: bytes = b"") -> None:
        self.asks = asks
        self.received = bytearray()
        self.made = 0
        self.lost: Any = None

    def connectionMade(self) -> None:
        self.made += 1
        if self.asks:
            self.transport.write(self.asks)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any) -> None:
        assert self.lost is None, "told twice"
        self.lost = reason


class Echo(Recorder):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Answers with ``answer`` when the other direction has ended."""

    def __init__(self, asks: bytes = b"", answer: bytes = b"") -> None:
        super().__init__(asks)
        self.answer = answer
        self.readEnded = False

    def readConnectionLost(self) -> None:
        self.readEnded = True
        self.transport.write(self.answer)
        self.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        pass


class Counting(Factory):
    """Makes protocols by ``make``, keeps them, and counts how often it was started and stopped."""

    noisy = False

    def __init__(self, make: Any = Recorder) -> None:
        self.make = make
        self.made: list[Any] = []
        self.addresses: list[Any] = []
        self.starts = self.stops = 0

    def doStart(self) -> None:
        self.starts += 1

    def doStop(self) -> None:
        self.stops += 1

    def buildProtocol(self, addr: Any) -> Any:
        self.addresses.append(addr)
        protocol = self.make()
        if protocol is not None:
            self.made.append(protocol)
        return protocol


@implementer(IReactorCore)
class StoppableClock(Clock):
    """A Clock that is a reactor as far as its end goes."""

    def __init__(self) -> None:
        super().__init__()
        self.triggers: dict[int, Any] = {}
        self._serial = 0

    def addSystemEventTrigger(self, phase: str, event: str, call: Any) -> int:
        assert (phase, event) == ("before", "shutdown")
        self._serial += 1
        self.triggers[self._serial] = call
        return self._serial

    def removeSystemEventTrigger(self, trigger: int) -> None:
        del self.triggers[trigger]

    def shutDown(self) -> defer.Deferred[Any]:
        triggers, self.triggers = self.triggers, {}
        return defer.gatherResults([defer.maybeDeferred(call) for call in triggers.values()])


@implementer(IDatagramTransportFactory)
class Sockets:
    """Makes simulated sockets; ``open`` are those that are."""

    name = "simulated"
    overhead = 0

    def __init__(self, network: SimulatedNetwork) -> None:
        self.network = network
        self.open: list[Any] = []
        self.dialled: list[tuple[str, int]] = []

    def dial(self, context: Any, host: str, port: int, ports: range) -> Any:
        self.dialled.append((host, port))
        return self._watched(self.network.transport(peer=(host, port), counters=context.counters))

    def listen(self, context: Any, host: str, ports: range) -> Any:
        return self._watched(self.network.transport((host or HOST, ports[0]), counters=context.counters))

    def _watched(self, transport: Any) -> Any:
        start, stop = transport.startListening, transport.stopListening

        def startListening(receiver: Any) -> None:
            start(receiver)
            self.open.append(transport)

        def stopListening() -> Any:
            if transport in self.open:
                self.open.remove(transport)
            return stop()

        transport.startListening, transport.stopListening = startListening, stopListening
        return transport


class World:
    """One clock, one network, and endpoints on them."""

    def __init__(self, seed: int = 1, delay: float = 10.0, **faults: Any) -> None:
        self.clock = StoppableClock()
        self.network = SimulatedNetwork(self.clock, seed, **{"delay": delay, **faults})
        self.sockets = Sockets(self.network)
        self._random = random.Random(seed)

    def server(self, **options: Any) -> KCPServerEndpoint:
        options = {"port": PORT, "interface": HOST, **options}
        return KCPServerEndpoint(
            self.clock, randomBytes=self._random.randbytes, transportFactory=self.sockets, **{"key": "k", **options}
        )

    def client(self, **options: Any) -> KCPClientEndpoint:
        options = {"host": HOST, "port": PORT, "resolveName": defer.succeed, "key": "k", **options}
        return KCPClientEndpoint(
            self.clock, randomBytes=self._random.randbytes, transportFactory=self.sockets, **options
        )

    def listen(self, make: Any = Echo, **options: Any) -> Any:
        """An IListeningPort; its factory is ``served``."""
        self.served = Counting(make)
        return result(self.server(**options).listen(self.served))

    def connect(self, endpoint: Any, make: Any = Recorder) -> Any:
        """A connected protocol."""
        found = endpoint.connect(make if isinstance(make, Counting) else Counting(make))
        assert self.run(lambda: found.called)
        return result(found)

    def run(self, condition: Any, seconds: float = 60) -> bool:
        return advanceUntil(self.clock, condition, seconds)

    def advance(self, seconds: float) -> None:
        self.run(lambda: False, seconds)

    def leftovers(self) -> tuple[list[Any], list[Any], Any]:
        """Timers, sockets and hooks at the reactor's shutdown: all empty where nothing is left."""
        return self.clock.getDelayedCalls(), self.sockets.open, self.clock.triggers


NOTHING: tuple[list[Any], list[Any], Any] = ([], [], {})


def result(deferred: Any) -> Any:
    """What a Deferred that has fired was given; raises its failure."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "it has not fired"
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def failure(deferred: Any) -> Any:
    """The failure of a Deferred that has fired."""
    found: list[Any] = []
    deferred.addErrback(found.append)
    assert found, "it has not failed"
    return found[0]
