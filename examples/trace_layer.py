"""Trace one layer alone, and what two applications say to each other.

    python examples/trace_layer.py layer.pcapng
"""

from __future__ import annotations

import sys
from typing import BinaryIO

from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from kcpstack.interfaces import IErasureCode
from kcpstack.testing.tracing import Trace, TracingLayer
from kcpstack.testing.transports import connectedPair


@implementer(IErasureCode)
class Sum:
    """Stands for the layer that you write: a code of two data shards and one that is their XOR."""

    dataShards, parityShards = 2, 1

    def encode(self, shards: list[bytes]) -> list[bytes]:
        size = max(map(len, shards))
        one, other = (int.from_bytes(shard.ljust(size, b"\0"), "big") for shard in shards)
        return [(one ^ other).to_bytes(size, "big")]

    def reconstruct(self, shards: dict[int, bytes]) -> dict[int, bytes]:
        if len(shards) < 2 or not shards.keys() <= {0, 1, 2}:
            raise ValueError("give two of the shards 0 to 2")
        lost = {0, 1} - shards.keys()
        return {index: self.encode(list(shards.values()))[0] for index in lost}


class Asking(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"GET / HTTP/1.1\r\nHost: example.net\r\n\r\n")


class Answering(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def record(file: BinaryIO) -> None:
    """Write both to ``file``."""
    clock = Clock()
    trace = Trace(file, clock)

    code = TracingLayer(Sum(), trace)
    (parity,) = code.encode([b"one", b"other"])
    code.reconstruct({0: b"one", 2: parity})

    here, there = connectedPair(clock, seed=None)
    there.start(Answering())
    here.start(TracingLayer(Asking(), trace, place="http", dissector="http"))
    clock.pump([0.01] * 10)
    trace.close()


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:
        record(file)
