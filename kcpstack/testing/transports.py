"""A session without a network: two joined ends of one, in memory and on virtual time.

For testing whatever sits above KCP.  ``connectedPair`` gives two MemoryTransports; each is an
ISessionTransport and behaves as a KCP session does: it buffers up to a bound, pauses a producer
that goes on, delivers late and in pieces cut anywhere, closes its hand when its protocol pauses,
and tells the other end nothing when it closes.  The same seed cuts in the same places.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IProducer, IProtocol, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.interfaces import ISessionTransport

__all__ = ["MemoryTransport", "connectedPair"]

CAPACITY = 65536  # bytes, each for what waits to be sent and what waits to be read
CUTS = (1, 2, 5, 7, 8, 9, 100, 1340, 5000, CAPACITY)  # sizes of pieces, around frame headers and more


@implementer(ISessionTransport)
class MemoryTransport:
    """One end.  ``peer`` is the other.

    ``broken`` may be set at any time: what is sent then is lost, as on a dead path."""

    def __init__(self, clock: IReactorTime, chance: random.Random | None, latency: float, capacity: int, port: int) -> None:
        """``chance`` decides where deliveries are cut; None delivers all that has arrived at once.
        ``latency`` is in seconds, ``capacity`` in bytes."""
        self.peer: MemoryTransport
        self.broken = False
        self.connected = False
        self.written = 0  # bytes, ever
        self._clock = clock
        self._chance = chance
        self._latency = latency
        self._capacity = capacity
        self._port = port
        self._protocol: IProtocol
        self._outgoing = bytearray()
        self._incoming = bytearray()
        self._producer: Any = None  # IPushProducer or IPullProducer, as it said when it was registered
        self._streaming = True
        self._producerPaused = False
        self._paused = False
        self._closing = False
        self._moving: IDelayedCall | None = None
        self._delivering: IDelayedCall | None = None

    def start(self, protocol: IProtocol) -> None:
        """Connect ``protocol``."""
        self._protocol = protocol
        self.connected = True
        protocol.makeConnection(self)
        self._deliverSoon()

    def drop(self, reason: Exception) -> None:
        """End this session for ``reason``, as a layer below would."""
        self._lose(Failure(reason))

    @property
    def unsent(self) -> int:
        """Bytes written that the other end has not got."""
        return len(self._outgoing)

    @property
    def readingPaused(self) -> bool:
        """Whether the protocol has paused us."""
        return self._paused

    # ITransport

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"bytes, not {type(data).__name__}")
        if not self.connected:
            return
        self.written += len(data)
        self._outgoing += data
        if len(self._outgoing) >= self._capacity and self._producer is not None and not self._producerPaused:
            self._producerPaused = True
            if self._streaming:
                self._producer.pauseProducing()
        self._moveSoon()

    def writeSequence(self, sequence: Iterable[bytes]) -> None:
        self.write(b"".join(sequence))

    def loseConnection(self) -> None:
        self._closing = True
        self._moveSoon()

    def abortConnection(self) -> None:
        self._lose(Failure(ConnectionAborted()))

    def getPeer(self) -> IPv4Address:
        return IPv4Address("UDP", "192.0.2.1", self.peer._port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "192.0.2.1", self._port)

    # IConsumer

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producerPaused = not streaming
        if not streaming:
            self._moveSoon()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._moveSoon()

    # IPushProducer

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._deliverSoon()

    def stopProducing(self) -> None:
        self.loseConnection()

    # the path

    def _moveSoon(self) -> None:
        if self._moving is None and self.connected:
            self._moving = self._clock.callLater(self._latency, self._move)

    def _move(self) -> None:
        """Carry over what the other end has room for."""
        self._moving = None
        room = self._capacity - len(self.peer._incoming)
        if self._outgoing and room > 0:
            if not self.broken and self.peer.connected:
                self.peer._incoming += self._outgoing[:room]
                self.peer._deliverSoon()
            del self._outgoing[:room]
        if self._producerPaused and len(self._outgoing) <= self._capacity // 2 and self._producer is not None:
            self._producerPaused = not self._streaming
            self._producer.resumeProducing()
        if self._outgoing and len(self.peer._incoming) < self._capacity:
            self._moveSoon()
        elif self._closing and not self._outgoing and self._producer is None:
            self._lose(Failure(ConnectionDone()))

    def _deliverSoon(self) -> None:
        if self._delivering is None and self.connected and self._incoming and not self._paused:
            self._delivering = self._clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._delivering = None
        while self._incoming and not self._paused and self.connected:
            size = len(self._incoming) if self._chance is None else self._chance.choice(CUTS)
            piece = bytes(self._incoming[:size])
            del self._incoming[:size]
            self._protocol.dataReceived(piece)
        if self.peer._outgoing or self.peer._closing:
            self.peer._moveSoon()

    def _lose(self, reason: Failure) -> None:
        if not self.connected:
            return
        self.connected = False
        self._producer = None
        self._outgoing.clear()
        self._incoming.clear()
        for call in (self._moving, self._delivering):
            if call is not None:
                call.cancel()
        self._moving = self._delivering = None
        self._protocol.connectionLost(reason)


def connectedPair(
    clock: IReactorTime, seed: int | None = 0, latency: float = 0.01, capacity: int = CAPACITY
) -> tuple[MemoryTransport, MemoryTransport]:
    """Two ends of one session; call ``start`` of each.

    ``seed`` decides where deliveries are cut; with None they are not.  ``latency`` is one way, in
    seconds; ``capacity``, in bytes, bounds what waits on each side."""
    ends = []
    for index in (0, 1):
        chance = None if seed is None else random.Random(f"{seed} {index}")
        ends.append(MemoryTransport(clock, chance, latency, capacity, 1000 + index))
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    return ends[0], ends[1]
