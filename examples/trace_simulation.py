"""Record a tunnel over a bad path, on virtual time, for Wireshark.

    python examples/trace_simulation.py tunnel.pcapng --loss 0.05

Both ends are in this process, and so in the same trace: "client wire", "server wire" and so on.  The same options give
the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import random
from typing import Any, BinaryIO

from twisted.internet import defer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.options import Address, ClientSettings, ServerSettings, Settings
from kcpstack.seams import Layers, layersOf
from kcpstack.server import Server
from kcpstack.stack import Surroundings
from kcpstack.testing.network import SimulatedNetwork, advanceUntil
from kcpstack.testing.tracing import FILE_LIMIT, PACKET_LIMIT, Trace, TracingLayer, traced

SERVER = ("10.0.0.1", 29900)


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Asking(Protocol):
    """Writes some bytes every 50 ms, and counts what comes back."""

    def __init__(self, clock: Clock, chance: random.Random, writes: int) -> None:
        self.clock = clock
        self.chance = chance
        self.left = writes
        self.missing = 0

    def connectionMade(self) -> None:
        if self.left:
            self.left -= 1
            self.missing += 3000
            self.transport.write(b"All of this is in the trace." + self.chance.randbytes(2972))
            self.clock.callLater(0.05, self.connectionMade)

    def dataReceived(self, data: bytes) -> None:
        self.missing -= len(data)


def record(
    file: BinaryIO,
    seed: int = 1,
    loss: float = 0.0,
    writes: int = 40,
    packetLimit: int = PACKET_LIMIT,
    fileLimit: int = FILE_LIMIT,
    **options: Any,
) -> None:
    """Write the trace of one stream to ``file``.  ``options`` are both ends' (``datashard=0``, ``smuxver=1`` ...)."""
    clock = Clock()
    network = SimulatedNetwork(clock, seed, delay=20.0, loss=loss)
    trace = Trace(file, clock, packetLimit, fileLimit)

    def around(end: str) -> Surroundings:
        def layers(settings: Settings) -> Layers:
            return traced(layersOf(settings), trace, end)

        return Surroundings(clock, Counters(), random.Random(f"{seed} {end}").randbytes, layers)

    def newTransport(peer: tuple[str, int]) -> Any:
        return TracingLayer(network.transport(peer=peer), trace, "client", peer=peer)

    socket = TracingLayer(network.transport(SERVER), trace, "server")
    server = Server(ServerSettings(**options), around("server"), socket, Factory.forProtocol(Echo))
    server.open()
    settings = ClientSettings(remoteaddr=Address(*SERVER), **options)
    client = Client(settings, around("client"), newTransport, defer.succeed)
    asking = Asking(clock, random.Random(seed), writes)
    client.openStream(TracingLayer(asking, trace, "client"))
    advanceUntil(clock, lambda: not asking.left and not asking.missing, seconds=600)
    asking.transport.loseConnection()
    advanceUntil(clock, lambda: False, seconds=1)
    client.close()
    server.close()
    trace.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record a simulated tunnel for Wireshark.")
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--loss", type=float, default=0.0, help="chance of each datagram, from 0 to 1")
    arguments = parser.parse_args()
    with open(arguments.path, "wb") as file:
        record(file, arguments.seed, arguments.loss)
