"""MB/s that one core carries from one smux stream to another, both ends of the session included.

    python benchmarks/bench_smux.py [--megabytes N]

Rows are versions and frame sizes, columns what is above KCP: smux alone, and smux with snappy on
noise and on text.  The session is a MemoryTransport, uncut: its own cost is the first row, where a
protocol writes to it directly.  Each figure is the best of several rounds.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from kcpstack.counters import Counters
from kcpstack.layers.smux import SmuxSession
from kcpstack.layers.snappy import CompressedTransport
from kcpstack.testing.transports import connectedPair

ROUNDS = 5
WRITE = 65_536  # bytes: what TCP reads in a turn
CAPACITY = 131_072  # bytes: KCP's high-water mark
NOISE = random.Random(1).randbytes(WRITE)
TEXT = (b"GET /some/path/%d HTTP/1.1\r\nHost: example.org\r\n\r\n" * (WRITE // 40))[:WRITE]
OPTIONS = {"streamBuffer": 2_097_152, "sessionBuffer": 4_194_304, "keepalive": 10.0}


class Source(Protocol):
    """Writes the same bytes again and again, as fast as it may: its own producer."""

    def __init__(self, clock: Clock, data: bytes, total: int) -> None:
        self.clock = clock
        self.data = data
        self.left = total
        self.paused = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.clock.callLater(0, self.step)

    def step(self) -> None:
        if not self.paused and self.left > 0:
            self.left -= len(self.data)
            self.transport.write(self.data)
            self.clock.callLater(0, self.step)

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self.clock.callLater(0, self.step)

    def stopProducing(self) -> None:
        self.paused = True


class Sink(Protocol):
    """Counts."""

    received = 0

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)


def rate(total: int, data: bytes, connect: Any) -> float:
    """MB/s of ``connect(clock, source, sink)``, which puts the two on the ends of something."""
    best = float("inf")
    for _ in range(ROUNDS):
        clock = Clock()
        source, sink = Source(clock, data, total), Sink()
        connect(clock, source, sink)
        begin = time.perf_counter()
        while sink.received < total:
            clock.advance(0)
        best = min(best, time.perf_counter() - begin)
    return total / best / 1e6


def direct(clock: Clock, source: Protocol, sink: Protocol) -> None:
    near, far = connectedPair(clock, None, 0, CAPACITY)
    near.start(source)
    far.start(sink)


def muxed(version: int, frameSize: int, compressed: bool) -> Any:
    def connect(clock: Clock, source: Protocol, sink: Protocol) -> None:
        near, far = connectedPair(clock, None, 0, CAPACITY)
        factory = Factory.forProtocol(lambda: sink)
        client = SmuxSession(clock, Counters(), version=version, frameSize=frameSize, **OPTIONS)
        server = SmuxSession(
            clock, Counters(), version=None, frameSize=frameSize, streamFactory=factory, **OPTIONS
        )
        for transport, session in ((near, client), (far, server)):
            transport.start(CompressedTransport(session, Counters()) if compressed else session)
        client.openStream(source)

    return connect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=128, help="for each figure (%(default)s)")
    total = parser.parse_args().megabytes * (1 << 20)
    print(f"{'':24}{'smux':>10}{'+ snappy':>10}{'+ snappy':>10}")
    print(f"{'MB/s':24}{'':>10}{'noise':>10}{'text':>10}")
    print(f"{'session alone':24}{rate(total, NOISE, direct):10.0f}")
    for version in (1, 2):
        for frameSize in (1024, 8192, 32_768, 65_535):
            figures = [
                rate(total, NOISE, muxed(version, frameSize, False)),
                rate(total, NOISE, muxed(version, frameSize, True)),
                rate(total, TEXT, muxed(version, frameSize, True)),
            ]
            print(f"version {version}, frames {frameSize:<6}" + "".join(f"{figure:10.0f}" for figure in figures))


if __name__ == "__main__":
    main()
