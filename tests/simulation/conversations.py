"""Two conversations over a simulated path, with everything below KCP real and nothing above it.

``ends.client`` and ``ends.server`` (there once the client was heard) each have a session, whatever it
received, the faults that it found in its path, and the datagrams that it sent with their sizes.
"""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock

from kcpstack.batch import Batch
from kcpstack.counters import Counters
from kcpstack.kernels.pathcheck import PathFault
from kcpstack.layers.fanout import Fanout
from kcpstack.layers.kcp import KCPSession
from kcpstack.options import Address, ClientSettings, ServerSettings
from kcpstack.stack import Conversation, Port, Surroundings, peek
from kcpstack.testing.impairment import Impairment
from kcpstack.testing.network import SimulatedNetwork, SimulatedTransport, advanceUntil

__all__ = ["SERVER", "End", "Ends"]

SERVER = ("10.0.0.1", 29900)
OURS: Any = SimpleNamespace(peerAnnounced=True)  # a mux that knows that the server is of our kind


class End:
    """One end: the protocol on its session."""

    def __init__(self, conversation: Conversation, clock: Clock) -> None:
        self.conversation = conversation
        self.session: KCPSession = conversation.session
        self.arq = conversation.arq
        self.clock = clock
        self.received = 0
        self.answers = 0  # bytes written back for each byte received
        self.faults: list[tuple[float, PathFault]] = []
        self.session.watchPath(self.faultFound)
        self.session.start(self)

    def faultFound(self, session: KCPSession, fault: PathFault) -> None:
        assert session is self.session
        self.faults.append((self.clock.seconds(), fault))

    def verdicts(self) -> list[Any]:
        return [fault.verdict for _, fault in self.faults]

    def write(self, length: int) -> None:
        self.session.write(bytes(length))

    def pour(self) -> None:
        """Write without end, as fast as the session takes it."""
        producer = Endless(self.session)
        self.session.registerProducer(producer, True)
        producer.resumeProducing()

    # ------------------------------------------------------------ IProtocol

    def makeConnection(self, transport: Any) -> None:
        pass

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.answers:
            self.write(len(data) * self.answers)

    def connectionLost(self, reason: Any) -> None:
        pass


class Endless:
    """A producer that always has more."""

    def __init__(self, session: KCPSession) -> None:
        self.session = session
        self.running = False

    def resumeProducing(self) -> None:
        self.running = True
        while self.running:
            self.session.write(bytes(4096))

    def pauseProducing(self) -> None:
        self.running = False

    def stopProducing(self) -> None:
        self.running = False


class Recording(SimulatedTransport):
    """Notes when (ms) how many bytes leave."""

    sends: list[tuple[float, int]]

    def send(self, batch: Batch, address: Any) -> None:
        self.sends.append((self._clock.seconds() * 1000, sum(batch.ends) - sum(batch.starts)))
        super().send(batch, address)


class Ends:
    """``options`` are of both ends, ``faults`` of both directions of the path."""

    def __init__(self, seed: Any = 1, faults: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.network = SimulatedNetwork(self.clock, seed, **{"delay": 20.0, **(faults or {})})
        self.server: Any = None
        self.serverTransport = self._recording(self.network.transport(SERVER))
        counters = Counters()
        around = Surroundings(self.clock, counters, random.Random(f"{seed} server").randbytes)
        self._serverPort = Port(self.serverTransport, ServerSettings(**options), around)
        self._fanout = Fanout(self._accept, peek, counters)
        self._serverPort.received = self._fanout.datagramsReceived
        self._serverPort.open()
        self.clientTransport = self._recording(self.network.transport(peer=SERVER))
        around = Surroundings(self.clock, Counters(), random.Random(f"{seed} client").randbytes)
        settings = ClientSettings(remoteaddr=Address(*SERVER), **options)
        port = Port(self.clientTransport, settings, around)
        port.open()
        conversation = Conversation(port, around.newConversation(), None, False, lambda over: None, SERVER)
        port.received = conversation.datagramsReceived
        conversation.mux = OURS
        self.client = End(conversation, self.clock)

    @property
    def up(self) -> Impairment:
        """The path from the client to the server."""
        return self.network.direction(self.clientTransport, self.serverTransport)

    @property
    def down(self) -> Impairment:
        """And back."""
        return self.network.direction(self.serverTransport, self.clientTransport)

    def meet(self) -> None:
        """A first exchange, so that both ends are there."""
        self.client.write(1)
        assert self.until(lambda: self.server is not None and self.client.session.established, 60)
        self.server.write(1)
        assert self.until(lambda: self.client.received == 1 and not self.server.arq.unacknowledged, 60)

    def run(self, seconds: float) -> None:
        self.until(lambda: False, seconds)

    def until(self, condition: Any, seconds: float) -> bool:
        return advanceUntil(self.clock, condition, seconds)

    def _accept(self, address: Any, conv: int) -> Conversation:
        conversation = Conversation(self._serverPort, conv, address, True, self._fanout.forget)
        self.server = End(conversation, self.clock)
        return conversation

    def _recording(self, transport: SimulatedTransport) -> Recording:
        transport.__class__ = Recording
        transport.sends = []
        return transport
