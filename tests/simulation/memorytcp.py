"""TCP connections in memory, on virtual time: what stands on both outer sides of a simulated tunnel with relays.

``MemoryTCP.pair(clock, near, far)`` is one connection.  It behaves as Twisted's TCP transports do: ``write`` never refuses,
a producer is paused while much is queued, half-close is told to protocols that provide IHalfCloseableProtocol, and
what is sent to an end that is closed comes back as a reset.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["LATENCY", "MemoryTCP"]

BUFFER = 65_536  # bytes under way, or arrived and unread; and queued, from which on a producer is paused
LATENCY = 0.0005  # s


@implementer(ITransport, IConsumer, IPushProducer)
class MemoryTCP:
    """One end.  ``peer`` is the other, and ``protocol`` what is on this one.

    The near end closes by itself when both directions have ended, which Twisted leaves to its protocols."""

    def __init__(self, clock: Any, port: int) -> None:
        self.peer: MemoryTCP
        self.connected = False
        self.disconnecting = False
        self._clock = clock
        self._port = port
        self.protocol: Any = None
        self._queue = bytearray()
        self._arrived = bytearray()
        self._producer: Any = None
        self._streaming = True
        self._producerPaused = False
        self._paused = False
        self._endWanted = False  # our direction ends after what is queued
        self._endSent = False
        self._endArrived = False
        self._endTold = False
        self._closed = False  # nobody reads any more
        self._closesItself = False
        self._turn: Any = None  # DelayedCall

    @classmethod
    def pair(cls, clock: Any, near: Any, far: Any) -> tuple[MemoryTCP, MemoryTCP]:
        """Connect two protocols, ``far`` first, as who listens."""
        ends = cls(clock, 1), cls(clock, 2)
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        ends[0]._closesItself = True
        for end, protocol in ((ends[1], far), (ends[0], near)):
            end.protocol = protocol
            end.connected = True
        for end in (ends[1], ends[0]):
            end.protocol.makeConnection(end)
        return ends

    # ITransport

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"bytes, not {type(data).__name__}")
        if not self.connected or self._endSent:
            return
        self._queue += data
        if len(self._queue) >= BUFFER and self._producer is not None and not self._producerPaused:
            self._producerPaused = True
            self._producer.pauseProducing()
        self._soon()

    def writeSequence(self, sequence: Any) -> None:
        self.write(b"".join(sequence))

    def loseConnection(self) -> None:
        self.disconnecting = self._endWanted = True
        self._soon()

    def loseWriteConnection(self) -> None:
        self._endWanted = True
        self._soon()

    def abortConnection(self) -> None:
        if self.connected:
            self._reset()
            self._lose(ConnectionAborted())

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self.peer._port)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", self._port)

    # IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if not self.connected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producerPaused = not streaming
        self._soon()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._soon()

    # IPushProducer

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._soon()

    def stopProducing(self) -> None:
        self.loseConnection()

    # the path

    def _soon(self) -> None:
        if self._turn is None and self.connected:
            self._turn = self._clock.callLater(LATENCY, self._move)

    def _move(self) -> None:
        self._turn = None
        self._deliver()
        if self.connected:
            self._send()

    def _send(self) -> None:
        peer = self.peer
        room = BUFFER - len(peer._arrived)
        if self._queue and room > 0:
            piece = self._queue[:room]
            del self._queue[: len(piece)]
            if peer._closed:
                self._lose(ConnectionLost("reset by peer"))
                return
            peer._arrived += piece
            peer._soon()
        if self._producer is not None and self._producerPaused and len(self._queue) <= BUFFER // 2:
            self._producerPaused = not self._streaming
            self._producer.resumeProducing()
        if self._queue:
            if room > 0:
                self._soon()
            return
        if self._endWanted and not self._endSent and self._producer is None:
            self._endSent = True
            peer._endArrived = True
            peer._soon()
            if not self.disconnecting and IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.writeConnectionLost()
        self.disconnecting = self.disconnecting or (self._closesItself and self._endTold and self._endSent)
        if self.disconnecting and self._endSent and self.connected:
            if self._arrived:  # closing with something unread resets, as kernels do
                self._reset()
            self._lose(ConnectionDone())

    def _deliver(self) -> None:
        if self._arrived and not self._paused and self.connected and not self.disconnecting:
            data = bytes(self._arrived)
            self._arrived.clear()
            self.protocol.dataReceived(data)
            self.peer._soon()
        if self._endArrived and not self._arrived and not self._paused and not self._endTold and self.connected:
            self._endTold = True
            if IHalfCloseableProtocol.providedBy(self.protocol):
                self.protocol.readConnectionLost()
                self._soon()
            else:
                self._lose(ConnectionDone())

    def _reset(self) -> None:
        peer = self.peer
        if peer.connected:
            self._clock.callLater(LATENCY, peer._lose, ConnectionLost("reset by peer"))

    def _lose(self, reason: Exception) -> None:
        if not self.connected:
            return
        self.connected = False
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._queue.clear()
        self._arrived.clear()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self.protocol.connectionLost(Failure(reason))
