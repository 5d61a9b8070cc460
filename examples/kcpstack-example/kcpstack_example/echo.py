"""A relay target that sends back what it gets, for ``--target @echo``: a tunnel to try out without a server
behind it.

Nothing is connected.  The endpoint gives its protocol a transport that is both ends: what is written comes
back in a later turn of the reactor.  Flow control is a TCP connection's: a protocol that pauses is given
nothing, and who writes more than BUFFER bytes to one that does is paused.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.address import HostnameAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, NoProtocol
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.interfaces import IRelayTarget

__all__ = ["EchoEndpoint", "EchoTarget", "EchoTransport"]

BUFFER = 65_536  # bytes; Twisted's own for a TCP connection


@implementer(IRelayTarget)
class EchoTarget:
    """``@echo``, without an argument."""

    name = "echo"

    def endpoint(self, reactor: Any, argument: str) -> EchoEndpoint:
        """See IRelayTarget."""
        if argument:
            raise ValueError(f"@echo takes nothing behind it, and there is {argument!r}: give @echo")
        return EchoEndpoint(reactor)


@implementer(IStreamClientEndpoint)
class EchoEndpoint:
    """``reactor`` provides IReactorTime."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        """Connects in the next turn, as if somebody had to be asked."""
        connected: Deferred[Any] = Deferred(lambda cancelled: call.cancel())

        def connect() -> None:
            try:
                protocol = protocolFactory.buildProtocol(ADDRESS)
                if protocol is None:
                    raise NoProtocol
                EchoTransport(self._reactor, protocol).start()
            except Exception:  # noqa: BLE001 - whoever waits has to hear of it
                connected.errback()
            else:
                connected.callback(protocol)

        call = self._reactor.callLater(0, connect)
        return connected


@implementer(ITransport, IConsumer, IPushProducer)
class EchoTransport:
    """The connection of ``protocol`` to itself.  ``disconnecting`` and ``disconnected`` are Twisted's."""

    def __init__(self, reactor: Any, protocol: Any) -> None:
        self.disconnecting = False
        self.disconnected = False
        self._reactor = reactor
        self._protocol = protocol
        self._pieces: deque[bytes] = deque()
        self._held = 0  # bytes in it
        self._writeEnded = False
        self._paused = False
        self._producer: Any = None
        self._producerPaused = False
        self._streaming = True
        self._turn: Any = None  # DelayedCall

    def start(self) -> None:
        """Connect the protocol."""
        self._protocol.makeConnection(self)

    # ------------------------------------------------------------ ITransport

    def write(self, data: bytes) -> None:
        """See ITransport."""
        if not data or self._writeEnded or self.disconnected:
            return
        self._pieces.append(data)
        self._held += len(data)
        if (
            self._producer is not None
            and self._streaming
            and self._held > BUFFER
            and not self._producerPaused
        ):
            self._producerPaused = True
            self._producer.pauseProducing()
        self._later()

    def writeSequence(self, data: Any) -> None:
        """See ITransport."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when all that was written has been written: that is now.  What has not come back does not any
        more."""
        if not self.disconnected:
            self.disconnecting = True
            self._later()

    def loseWriteConnection(self) -> None:
        """End our direction.  When all has come back, the other one ends as well."""
        self._writeEnded = True
        self._later()

    def abortConnection(self) -> None:
        """Close at once."""
        if not self.disconnected:
            self._lost(ConnectionAborted())

    def getPeer(self) -> HostnameAddress:
        """Nobody but us."""
        return ADDRESS

    def getHost(self) -> HostnameAddress:
        """As above."""
        return ADDRESS

    # ------------------------------------------------------------ IConsumer, IPushProducer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See IConsumer."""
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self.disconnected:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._producerPaused = not streaming
        self._later()

    def unregisterProducer(self) -> None:
        """See IConsumer."""
        self._producer = None

    def pauseProducing(self) -> None:
        """Give the protocol nothing."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        self._later()

    def stopProducing(self) -> None:
        """See IProducer."""
        self.loseConnection()

    # ------------------------------------------------------------ details

    def _later(self) -> None:
        if self._turn is None and not self.disconnected:
            self._turn = self._reactor.callLater(0, self._deliver)

    def _deliver(self) -> None:
        """One piece a turn, so that a long echo holds up nobody else."""
        self._turn = None
        if self.disconnecting:
            self._lost(ConnectionDone())
            return
        if self._pieces and not self._paused:
            data = self._pieces.popleft()
            self._held -= len(data)
            self._protocol.dataReceived(data)
        self._refill()
        if self.disconnected or self.disconnecting or self._paused:
            return
        if self._pieces:
            self._later()
        elif self._writeEnded:
            self._readEnded()

    def _refill(self) -> None:
        if (
            self._producer is not None
            and self._producerPaused
            and self._held <= BUFFER // 2
            and not self.disconnected
        ):
            self._producerPaused = not self._streaming
            self._producer.resumeProducing()

    def _readEnded(self) -> None:
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self._protocol.readConnectionLost()
        if not self.disconnected:
            self._lost(ConnectionDone())

    def _lost(self, reason: Exception) -> None:
        self.disconnected = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._pieces.clear()
        self._held = 0
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._protocol.connectionLost(Failure(reason))


ADDRESS = HostnameAddress(b"echo", 0)
