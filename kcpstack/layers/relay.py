"""The relay: one TCP connection and one stream, joined byte for byte.

Each is the other's producer, so a reader that stops stops the far writer.  What one side does is
done to the other:

==========================================  ===================================================
here                                        there
==========================================  ===================================================
the end of what it sends (half-close)       ``loseWriteConnection``, after all that came before
both directions have ended                  ``loseConnection``
lost cleanly (ConnectionDone)               ``loseConnection``, after all that came before
lost in any other way, e.g. a TCP reset     ``abortConnection``
==========================================  ===================================================

On the client the near end is a TCP connection that was accepted and the far end a stream; on the
server the near end is a stream that a client opened and the far end a connection to the target.
The near end is paused until the far end is there, and aborted if that fails or takes too long.

A factory knows its relays until both ends are over: a TCP connection may still be sending to a slow
application when its stream has long ended.  So whoever closes waits for ``whenEmpty``, and what
is cut with ``abort`` is reset, since an end that looks clean would pass for all the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone, TimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.addresses import shown
from kcpstack.interfaces import IStreamTransport
from kcpstack.layers.tcpwriting import writeNow

__all__ = ["ClientRelayFactory", "RelayFactory", "ServerRelayFactory"]

READ_SIZE = 262144  # bytes TCP reads in a turn, and queues before it pauses us; Twisted's 65536 is slower
REACH_TIMEOUT = 10.0  # seconds to reach a target, names and all; it is near its server
STREAM_TIMEOUT = 35.0  # seconds to get a stream; more than a client waits for its server
FAILURE_LINES = 10.0  # seconds between two lines about far ends that could not be reached


class RelayFactory(Factory):
    """Makes the near ends.  ``reach(protocol)`` connects a protocol to a far end; it may return a
    Deferred, which is cancelled after ``patience`` seconds."""

    noisy = False
    _log = Logger()

    def __init__(self, reach: Callable[[Protocol], object], patience: float, clock: IReactorTime, quiet: bool) -> None:
        self.reach = reach
        self.patience = patience
        self.clock = clock
        self.quiet = quiet
        self._nextFailureLine = float("-inf")
        self._failuresUnsaid = 0
        self._relays: dict[_Relay, None] = {}
        self._emptyWaiters: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> _End:
        return _Relay(self).near

    @property
    def streamless(self) -> int:
        """How many connections are left whose stream is over: they are still being written to."""
        return sum(relay.streamless for relay in self._relays)

    def whenEmpty(self) -> Deferred[None]:
        """Fires when there is no relay any more; at once where there is none."""
        waiter: Deferred[None] = Deferred()
        self._emptyWaiters.append(waiter)
        self._tellIfEmpty()
        return waiter

    def abort(self) -> None:
        """Abort both ends of every relay."""
        for relay in list(self._relays):
            relay.abort()

    def relayBegun(self, relay: _Relay) -> None:
        self._relays[relay] = None

    def relayOver(self, relay: _Relay) -> None:
        """Neither end is connected, or ever will be."""
        self._relays.pop(relay, None)
        self._tellIfEmpty()

    def _tellIfEmpty(self) -> None:
        if not self._relays:
            waiters, self._emptyWaiters = self._emptyWaiters, []
            for waiter in waiters:
                waiter.callback(None)

    def relayOpened(self, relay: _Relay) -> None:
        if not self.quiet:
            self._log.info("Stream opened: {relay}", relay=relay)

    def relayClosed(self, relay: _Relay) -> None:
        if not self.quiet:
            self._log.info(
                "Stream closed: {relay}, {up} bytes up, {down} bytes down, {seconds:.1f} s: {why}",
                relay=relay,
                up=relay.near.received,
                down=relay.far.received,
                seconds=self.clock.seconds() - relay.began,
                why=relay.whyOver or "both sides ended",
            )

    def farEndFailed(self, relay: _Relay, reason: Failure) -> None:
        now = self.clock.seconds()
        if now < self._nextFailureLine:
            self._failuresUnsaid += 1
            return
        self._nextFailureLine = now + FAILURE_LINES
        unsaid, self._failuresUnsaid = self._failuresUnsaid, 0
        self._log.warn(
            "Refused {relay}: {why}{more}",
            relay=relay,
            why=reason.getErrorMessage(),
            more=f" ({unsaid} more were refused since the last such line)" if unsaid else "",
        )


class ClientRelayFactory(RelayFactory):
    """For the client's listener: relays each accepted connection to a stream of its own.

    ``openStream(protocol)`` connects a protocol to a new stream, at once or with the Deferred it
    returns."""

    def __init__(self, openStream: Callable[[IProtocol], object], clock: IReactorTime, quiet: bool = False) -> None:
        """With ``quiet`` no line is logged for each stream."""
        super().__init__(openStream, STREAM_TIMEOUT, clock, quiet)


class ServerRelayFactory(RelayFactory):
    """For the streams that clients open: relays each to a connection to ``target``,
    which may be changed for another."""

    def __init__(self, target: IStreamClientEndpoint, clock: IReactorTime, quiet: bool = False) -> None:
        """With ``quiet`` no line is logged for each stream."""
        self.target = target
        super().__init__(self._connect, REACH_TIMEOUT, clock, quiet)

    def _connect(self, protocol: Protocol) -> Deferred[IProtocol]:
        factory = Factory.forProtocol(lambda: protocol)
        factory.noisy = False
        connected: Deferred[IProtocol] = self.target.connect(factory)
        return connected


class _Relay:
    """Two ends, and what they mean to each other."""

    def __init__(self, factory: RelayFactory) -> None:
        self.near = _End(self)
        self.far = _End(self)
        self.near.other, self.far.other = self.far, self.near
        self.began = factory.clock.seconds()
        self.whyOver = ""
        self._factory = factory
        self._reaching: Deferred[object] | None = None

    def __str__(self) -> str:
        transport = self.near.transport
        name = shown(transport.getPeer())
        number = getattr(transport, "streamID", None)
        return name if number is None else f"{name} stream {number}"

    @property
    def streamless(self) -> bool:
        """Whether the stream is over, and the connection is not."""
        return any(end.lost and end.isStream and end.other.connected and not end.other.lost for end in self.ends)

    @property
    def ends(self) -> tuple[_End, _End]:
        return self.near, self.far

    def abort(self) -> None:
        """Cut it."""
        self.whyOver = "cut"
        for end in self.ends:
            if end.connected and not end.lost:
                end.transport.unregisterProducer()
                end.transport.abortConnection()

    def endConnected(self, end: _End) -> None:
        if end is self.near:
            self._factory.relayBegun(self)
            end.transport.pauseProducing()
            self._reaching = maybeDeferred(self._factory.reach, self.far)
            self._reaching.addTimeout(self._factory.patience, self._factory.clock, _tooLate)
            self._reaching.addCallbacks(self._reached, self._notReached)
        elif self.near.lost:
            end.transport.abortConnection()
        else:
            self._join()

    def _reached(self, result: object) -> None:
        self._reaching = None

    def _notReached(self, reason: Failure) -> None:
        self._reaching = None
        if self.near.lost:
            self._factory.relayOver(self)
        else:
            self._factory.farEndFailed(self, reason)
            self.near.transport.abortConnection()

    def _join(self) -> None:
        near, far = self.near.transport, self.far.transport
        self._factory.relayOpened(self)
        near.registerProducer(_Source(far), True)
        far.registerProducer(_Source(near), True)
        near.resumeProducing()

    def directionEnded(self, end: _End) -> None:
        """All that ``end`` receives has been passed on."""
        other = end.other
        other.transport.unregisterProducer()
        other.transport.loseWriteConnection()
        if other.readEnded:
            other.transport.loseConnection()
            end.transport.loseConnection()

    def endLost(self, end: _End, reason: Failure) -> None:
        if end.other.lost:
            self._factory.relayClosed(self)
            self._factory.relayOver(self)
        elif end.other.connected:
            self._passOn(reason, end.other.transport)
        elif self._reaching is not None:
            self._reaching.cancel()
        else:
            self._factory.relayOver(self)

    def _passOn(self, reason: Failure, transport: Any) -> None:
        transport.unregisterProducer()
        if reason.check(ConnectionDone):
            transport.loseConnection()
        else:
            self.whyOver = self.whyOver or reason.getErrorMessage()
            transport.abortConnection()


def _tooLate(result: object, seconds: float) -> NoReturn:
    raise TimeoutError(string=f"not reached within {seconds:.0f} s")


@implementer(IPushProducer)
class _Source:
    """What one end is to the other.  A transport that takes no more stops its producer: then we read no more there, but what is
    to go that way still goes; a stream whose peer has closed may have all of it to give yet.  Its own end says the rest."""

    def __init__(self, transport: Any) -> None:
        self.pauseProducing = self.stopProducing = transport.pauseProducing
        self.resumeProducing = transport.resumeProducing


@implementer(IHalfCloseableProtocol)
class _End(Protocol):
    """The protocol on one of a relay's two transports.  ``received`` counts bytes."""

    other: _End
    transport: Any  # of TCP, a Unix socket or a stream: no interface says what they share

    def __init__(self, relay: _Relay) -> None:
        self.received = 0
        self.readEnded = False
        self.lost = False
        self.isStream = False
        self._relay = relay

    def connectionMade(self) -> None:
        transport = self.transport
        self.isStream = IStreamTransport.providedBy(transport)
        if ITCPTransport.providedBy(transport) and not isinstance(transport.getHost(), UNIXAddress):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        if hasattr(transport, "bufferSize"):
            transport.bufferSize = READ_SIZE
        self._relay.endConnected(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        writeNow(self.other.transport, data)

    def readConnectionLost(self) -> None:
        self.readEnded = True
        self._relay.directionEnded(self)

    def writeConnectionLost(self) -> None:
        """Our own doing: nothing follows from it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._relay.endLost(self, reason)
