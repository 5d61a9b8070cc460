"""The connections of one client's endpoint: from ``connect`` to ``connectionLost``, and the sessions that they have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.error import CannotListenError, ConnectingCancelledError, NoProtocol, getConnectError
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from kcpstack.addresses import KCPAddress
from kcpstack.client import Client
from kcpstack.interfaces import IStreamTransport
from kcpstack.shutdown import AtShutdown, ended

__all__ = ["IDLE", "Connecting", "Sessions"]

IDLE = 60.0  # s without a connection until shared sessions end; what a browser waits between two clicks, or more


class Sessions:
    """The clients of one endpoint (kcpstack/client.py), each with the connections that use it: one client for all, or
    one for each.  For ``closewait`` see kcpstack/shutdown.py."""

    def __init__(self, reactor: Any, newClient: Callable[[], Client], shared: bool, closewait: float | None) -> None:
        self._reactor = reactor
        self._newClient = newClient
        self._closewait = closewait
        self.shared = shared
        self._users: dict[Client, int] = {}  # those that are not over
        self._current: Client | None = None  # that new connections share
        self._idle: IDelayedCall | None = None
        self._atShutdown = AtShutdown(reactor, self._drainAll)

    def take(self) -> Client:
        """A client to open a stream of.  Its taker must give it back."""
        client = self._current
        if client is None:
            client = self._newClient()
            self._users[client] = 0
            self._atShutdown.add()
            if self.shared:
                client.start()
                self._current = client
        self._users[client] += 1
        self._stopIdle()
        return client

    def opened(self, client: Client) -> None:
        """Whoever took ``client`` has a stream now."""
        if not self.shared:
            client.retire(lambda: self._forget(client))

    def giveBack(self, client: Client) -> None:
        """The stream is over, or there will be none."""
        if client not in self._users:
            return
        self._users[client] -= 1
        if self._users[client]:
            return
        if client.answered and self.shared:
            self._idle = self._reactor.callLater(IDLE, self._idled, client)
        elif not client.answered:
            self._close(client)

    def close(self) -> defer.Deferred[None]:
        """End them all.  Fires when they are over."""
        self._stopIdle()
        return self._atShutdown.now()

    def _drainAll(self) -> list[defer.Deferred[Any]]:
        return [
            ended(client, self._closewait).addCallback(lambda outcome, client: self._forget(client), client)
            for client in list(self._users)
        ]

    def _idled(self, client: Client) -> None:
        self._idle = self._current = None
        client.retire(lambda: self._forget(client))

    def _close(self, client: Client) -> None:
        client.close()
        self._forget(client)

    def _forget(self, client: Client) -> None:
        if client is self._current:
            self._current = None
        if self._users.pop(client, None) is not None and not self._users:
            self._stopIdle()
            self._atShutdown.remove()

    def _stopIdle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


class Connecting:
    """One call of ``connect``: ``protocolFactory`` is told as a TCP connector tells it."""

    def __init__(self, protocolFactory: IProtocolFactory, address: KCPAddress, sessions: Sessions) -> None:
        self._factory = protocolFactory
        self._sessions = sessions
        self._client = sessions.take()
        self._address = address
        self._opening: defer.Deferred[IStreamTransport] | None = None
        self._stream: IStreamTransport | None = None
        self._connected: defer.Deferred[IProtocol] = defer.Deferred(self._cancelled)

    def begin(self, timeout: float) -> defer.Deferred[IProtocol]:
        """Ask for a stream.  Returns a Deferred of the protocol on it."""
        try:
            self._factory.doStart()
        except Exception:  # noqa: BLE001 - it is told to whoever asked for the connection
            self._sessions.giveBack(self._client)
            return defer.fail()
        self._opening = self._client.openStream(_Connection(self), timeout)
        self._opening.addErrback(self._failed)
        return self._connected

    def made(self, stream: IStreamTransport) -> IProtocol | None:
        """There is a stream.  Returns the protocol to put on it, or None."""
        self._stream = stream
        self._sessions.opened(self._client)
        try:
            protocol = self._factory.buildProtocol(stream.getPeer())
            if protocol is None:
                raise NoProtocol()
        except Exception as error:  # it is told to whoever asked for the connection
            if not self._connected.called:
                self._connected.errback(Failure())
            elif not isinstance(error, NoProtocol):
                raise
            return None
        return protocol

    def begun(self, result: IProtocol | Failure) -> None:
        """The protocol is connected; or a Failure, if it raised at that."""
        if not self._connected.called:
            self._connected.callback(result)

    def over(self) -> None:
        """The connection is lost, or there will be none."""
        self._sessions.giveBack(self._client)
        self._factory.doStop()

    def _failed(self, reason: Failure) -> None:
        self._opening = None
        error = reason.value
        if isinstance(error, CannotListenError):  # of our socket, whose address the user never gave
            reason = Failure(getConnectError(error.socketError))
        try:
            self.over()
        finally:
            if not self._connected.called:
                self._connected.errback(reason)

    def _cancelled(self, connected: defer.Deferred[IProtocol]) -> None:
        connected.errback(ConnectingCancelledError(self._address))
        if self._stream is not None:  # the protocol is just being connected
            self._stream.abortConnection()
        elif self._opening is not None:
            self._opening.cancel()


class _Connection(Protocol):
    """Stands between a stream and the protocol on it, so that we learn of the end."""

    _protocol: Any = None
    _stream: IStreamTransport

    def __init__(self, connecting: Connecting) -> None:
        self._connecting = connecting

    def makeConnection(self, transport: ITransport) -> None:
        """As of IProtocol, as the following are."""
        self._stream = cast(IStreamTransport, transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        stream = self._stream
        protocol = self._protocol = self._connecting.made(stream)
        if protocol is None:
            stream.abortConnection()
            return
        if IHalfCloseableProtocol.providedBy(protocol):
            directlyProvides(self, IHalfCloseableProtocol)
        try:
            protocol.makeConnection(stream)
        except Exception:
            self._connecting.begun(Failure())
            raise
        self._connecting.begun(protocol)

    def logPrefix(self) -> str:
        """As of ILoggingContext: the protocol's."""
        protocol = self._protocol
        return str(protocol.logPrefix()) if ILoggingContext.providedBy(protocol) else type(protocol).__name__

    def dataReceived(self, data: bytes) -> None:
        self._protocol.dataReceived(data)

    def readConnectionLost(self) -> None:
        self._protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        self._protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connectionLost(reason)
        finally:
            self._connecting.over()
