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
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

from kcpstack.addresses import KCPAddress, shown
from kcpstack.client import Client
from kcpstack.connecting import Connecting, Sessions
from kcpstack.counters import Counters
from kcpstack.endpointoptions import asKeywords, clientSettings, givenClosewait, serverSettings
from kcpstack.interfaces import IDatagramTransport, IDatagramTransportFactory
from kcpstack.layers.datagram import Shared
from kcpstack.listening import CannotBegin, listening
from kcpstack.names import resolveName as resolveWithReactor
from kcpstack.options import ClientSettings, ServerSettings, Settings
from kcpstack.seams import TRANSPORTS, Layers
from kcpstack.server import Server
from kcpstack.shutdown import AtShutdown, ended
from kcpstack.stack import Surroundings
from kcpstack.transports import TransportContext

__all__ = ["KCPClientEndpoint", "KCPPort", "KCPServerEndpoint"]


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
        self._sessions = Sessions(reactor, self._newClient, mux, givenClosewait(self.settings, options))
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
        return Connecting(protocolFactory, address, self._sessions).begin(self._timeout)

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
        self._server = next((server for server in self._servers if server.revive()), None) or self._open()
        self._atShutdown.add()
        _log.info("{factory} starting on kcp: {where}", factory=self._factory, where=shown(self._host))
        self._factory.doStart()

    def _open(self) -> Server:
        settings, world = self._settings, self._world
        address = settings.listen
        transport = world.transports(settings).listen(world.context(settings), address.host, address.ports)
        server = Server(settings, world.surroundings(), transport, self._factory)
        try:
            listening(f"kcp: {address}", server.open, isRange=bool(address.last))
        except CannotBegin as error:
            if any(port._mayHold(world.reactor, error.port) for port in _stopped):
                error.remedy = HELD
            raise
        host: Any = transport.getHost()  # an IAddress that has both
        self._host = KCPAddress(host.host, host.port)
        self._servers[server] = None
        return server

    def _mayHold(self, reactor: Any, number: int | str) -> bool:
        if self._server is not None or not self._servers or reactor is not self._world.reactor:
            return False
        first = self.getHost().port
        return number in range(first, first + len(self._settings.listen.ports))

    def stopListening(self) -> defer.Deferred[None]:
        """Take no more sessions and streams.  Connections go on until they end, as those of TCP do; the socket closes
        with the last session, and is there for ``startListening`` until then.  The Deferred fires at once."""
        server, self._server = self._server, None
        if server is not None:
            _stopped.add(self)
            _log.info("{factory} stopping on kcp: {where}", factory=self._factory, where=shown(self._host))
            server.retire(lambda: self._over(server))
            self._factory.doStop()
        return defer.succeed(None)

    def close(self) -> defer.Deferred[None]:
        """Stop listening, and end all connections as the reactor's shutdown does (kcpstack/shutdown.py).  The Deferred fires
        when no socket and no timer is left."""
        self.stopListening()
        return self._atShutdown.now()

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


HELD = "this program has stopped listening there, but connections of before have not ended, and need the socket"

# Ports that listen no more and may have a socket still: for a better word on why an address is taken, and for nothing else.
_stopped: weakref.WeakSet[KCPPort] = weakref.WeakSet()


def _sayDoubts(settings: ClientSettings | ServerSettings) -> None:
    for doubt in settings.doubts():
        _log.warn("kcp: {doubt}", doubt=asKeywords(doubt))


_log = Logger()
