"""``kcp:`` endpoints: a protocol of your own over KCP, wherever Twisted takes an endpoint.

On the wire there is always smux on KCP, as in kcptun: KCP can neither close, half-close nor abort, and smux's streams
can.  So Go's kcptun may be at the other end.  A connection is one stream::

    mux off     a session for each connection, which ends with it; the peer is told
    mux on      all connections of an endpoint object share sessions, which end when they are idle

Beside it: endpointoptions.py has the keywords, endpointstrings.py the strings, errors.py why a connection was lost, and
docs/your-protocol-over-kcp.rst the whole story.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet import defer
from twisted.internet.error import CannotListenError, ConnectingCancelledError, NoProtocol, getConnectError
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IListeningPort,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from kcpstack.addresses import KCPAddress, shown
from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.endpointoptions import clientSettings, givenClosewait, serverSettings
from kcpstack.interfaces import IDatagramTransport, IDatagramTransportFactory, IStreamTransport
from kcpstack.layers.datagram import Shared
from kcpstack.listening import listening
from kcpstack.names import resolveName as resolveWithReactor
from kcpstack.options import ClientSettings, ServerSettings, Settings
from kcpstack.seams import TRANSPORTS, Layers
from kcpstack.server import Server
from kcpstack.shutdown import AtShutdown, ended
from kcpstack.stack import Surroundings
from kcpstack.transports import TransportContext

__all__ = ["IDLE", "KCPClientEndpoint", "KCPPort", "KCPServerEndpoint"]

IDLE = 60.0  # s without a connection until shared sessions end; what a browser waits between two clicks, or more


@dataclass(frozen=True)
class _World:
    """What both kinds of endpoint are given, and what they make of it."""

    reactor: Any
    counters: Counters
    randomBytes: Callable[[int], bytes]
    transportFactory: IDatagramTransportFactory | None  # None: what the settings name
    layers: Callable[[Settings], Layers] | None  # see Surroundings; None: what the settings name

    def surroundings(self) -> Surroundings:
        around = (self.reactor, self.counters, self.randomBytes)
        return Surroundings(*around) if self.layers is None else Surroundings(*around, layers=self.layers)

    def transports(self, settings: Settings) -> IDatagramTransportFactory:
        return self.transportFactory or TRANSPORTS.find(settings.transport)

    def context(self, settings: Settings) -> TransportContext:
        shared = Shared(self.reactor)  # a read buffer, mostly
        return TransportContext(
            self.reactor, self.counters, self.randomBytes, settings.sockbuf, settings.dscp, shared
        )


@implementer(IStreamClientEndpoint)
class KCPClientEndpoint:
    """Connects to a KCP server at ``host`` and ``port`` (a number, a range, or a text of either: of a range each
    session picks one), which has ``timeout`` seconds to answer.  With ``mux`` the connections of this object share
    sessions.

    ``options`` are the option table's, as values or texts (kcpstack/endpointoptions.py).  Raises ValueError, one line
    for the user.  ``counters`` is what it counts in; one of its own unless given."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int | str | range,
        timeout: float = 30,
        mux: bool = False,
        *,
        randomBytes: Callable[[int], bytes] = os.urandom,
        transportFactory: IDatagramTransportFactory | None = None,
        resolveName: Callable[[str], defer.Deferred[str]] | None = None,
        counters: Counters | None = None,
        layers: Callable[[Settings], Layers] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
            raise ValueError(f"timeout={timeout!r}: give a number of seconds above 0")
        self.settings = clientSettings(host, port, mux, options)
        self.counters = counters or Counters()
        self._timeout = timeout
        self._world = _World(reactor, self.counters, randomBytes, transportFactory, layers)
        self._around = self._world.surroundings()
        self._context = self._world.context(self.settings)
        self._resolveName = resolveName or (lambda name: resolveWithReactor(reactor, name))
        self._sessions = _Sessions(reactor, self._newClient, mux, givenClosewait(self.settings, options))
        _sayDoubts(self.settings)

    def __repr__(self) -> str:
        return f"<kcp: client endpoint for {self.settings.remoteaddr}>"

    def connect(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IProtocol]:
        """Connect a protocol of ``protocolFactory``.  The Deferred fires with it when the server has answered: with
        ``mux``, at once where there is a session.

        It fails with ConnectionRefusedError, TimeoutError, DNSLookupError or another of
        ``twisted.internet.error``; cancel it to give up."""
        settings = self.settings
        address = KCPAddress(settings.remoteaddr.host, settings.remoteaddr.port)
        return _Connecting(protocolFactory, address, self._sessions).begin(self._timeout)

    def close(self) -> defer.Deferred[None]:
        """End all connections as the reactor's shutdown does (kcpstack/shutdown.py).  The Deferred fires when no socket and
        no timer is left; then it may connect again.  For tests, and for who stops before the reactor does."""
        return self._sessions.close()

    def _newClient(self) -> Client:
        settings = self.settings
        factory = self._world.transports(settings)

        def newTransport(peer: tuple[str, int]) -> IDatagramTransport:
            transport: IDatagramTransport = factory.dial(self._context, *peer, settings.remoteaddr.ports)
            return transport

        return Client(settings, self._around, newTransport, self._resolveName, likeTCP=True)


class _Sessions:
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
        return defer.DeferredList(self._drainAll()).addCallback(_nothing)

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


class _Connecting:
    """One call of ``connect``: ``protocolFactory`` is told as a TCP connector tells it."""

    def __init__(self, protocolFactory: IProtocolFactory, address: KCPAddress, sessions: _Sessions) -> None:
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

    def __init__(self, connecting: _Connecting) -> None:
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


@implementer(IStreamServerEndpoint)
class KCPServerEndpoint:
    """Listens for KCP clients on UDP ``port`` (a number, 0 for any; a range; or a text of either) at the address
    ``interface``, empty for all.

    ``mux`` is taken so that both ends may have the same keywords: a client's sessions carry as many streams as it
    likes in any case.  For the rest see KCPClientEndpoint."""

    def __init__(
        self,
        reactor: Any,
        port: int | str | range,
        interface: str = "",
        *,
        mux: bool = False,
        randomBytes: Callable[[int], bytes] = os.urandom,
        transportFactory: IDatagramTransportFactory | None = None,
        counters: Counters | None = None,
        layers: Callable[[Settings], Layers] | None = None,
        **options: Any,
    ) -> None:
        self.settings = serverSettings(port, interface, options)
        self.counters = counters or Counters()
        self._world = _World(reactor, self.counters, randomBytes, transportFactory, layers)
        self._closewait = givenClosewait(self.settings, options)
        _sayDoubts(self.settings)

    def __repr__(self) -> str:
        return f"<kcp: server endpoint for {self.settings.listen}>"

    def listen(self, protocolFactory: IProtocolFactory) -> defer.Deferred[IListeningPort]:
        """Listen.  The Deferred fires with a KCPPort, or fails with CannotListenError."""
        port = KCPPort(self.settings, self._world, protocolFactory, self._closewait)
        return defer.execute(port.startListening).addCallback(lambda result: port)


@implementer(IListeningPort)
class KCPPort:
    """A server's UDP port, or ports, as ``listen`` returns it."""

    def __init__(
        self, settings: ServerSettings, world: _World, protocolFactory: IProtocolFactory, closewait: float | None
    ) -> None:
        """For ``closewait`` see kcpstack/shutdown.py."""
        self._settings = settings
        self._world = world
        self._closewait = closewait
        self._factory = protocolFactory
        self._server: Server | None = None  # while it listens
        self._host: KCPAddress | None = None
        self._servers: dict[Server, None] = {}  # with those that only keep the connections that they have
        self._atShutdown = AtShutdown(world.reactor, self._drainAll)

    def __repr__(self) -> str:
        return f"<kcp: port at {self._host or self._settings.listen}>"

    def startListening(self) -> None:
        """Take sessions.  Raises CannotListenError, with what would help."""
        if self._server is not None:
            return
        settings, world = self._settings, self._world
        address = settings.listen
        transport = world.transports(settings).listen(world.context(settings), address.host, address.ports)
        server = Server(settings, world.surroundings(), transport, self._factory)
        listening(f"kcp: {address}", server.open, isRange=bool(address.last))
        host: Any = transport.getHost()  # an IAddress that has both
        self._host = KCPAddress(host.host, host.port)
        self._server = server
        self._servers[server] = None
        self._atShutdown.add()
        _log.info("{factory} starting on kcp: {where}", factory=self._factory, where=shown(self._host))
        self._factory.doStart()

    def stopListening(self) -> defer.Deferred[None]:
        """Take no more sessions and streams.  Connections go on until they end, as those of TCP do; the socket closes
        with the last session.  The Deferred fires at once."""
        server, self._server = self._server, None
        if server is not None:
            _log.info("{factory} stopping on kcp: {where}", factory=self._factory, where=shown(self._host))
            server.retire(lambda: self._over(server))
            self._factory.doStop()
        return defer.succeed(None)

    def close(self) -> defer.Deferred[None]:
        """Stop listening, and end all connections as the reactor's shutdown does (kcpstack/shutdown.py).  The Deferred fires
        when no socket and no timer is left."""
        self.stopListening()
        return defer.DeferredList(self._drainAll()).addCallback(_nothing)

    def getHost(self) -> KCPAddress:
        """Where it listens, as a KCPAddress with the real port; of a range, the first."""
        assert self._host is not None, "it has never listened"
        return self._host

    def _over(self, server: Server) -> None:
        self._servers.pop(server, None)
        if not self._servers:
            self._atShutdown.remove()

    def _drainAll(self) -> list[defer.Deferred[Any]]:
        return [
            ended(server, self._closewait).addCallback(lambda outcome, server: self._over(server), server)
            for server in list(self._servers)
        ]


def _nothing(results: object) -> None:
    """Nobody needs to know how each ended: the log does."""


def _sayDoubts(settings: ClientSettings | ServerSettings) -> None:
    for doubt in settings.doubts():
        _log.warn("kcp: {doubt}", doubt=doubt)


_log = Logger()
