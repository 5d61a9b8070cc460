"""What ``twistd kcptun`` runs: a client or a server as a Twisted service on the real reactor.

Here, and nowhere below, the real clock, sockets and random numbers come in.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.application.service import Service
from twisted.internet import defer, endpoints
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IResolutionReceiver
from twisted.logger import Logger
from zope.interface import implementer

from kcpstack.addresses import shown
from kcpstack.client import Client
from kcpstack.counters import Counters
from kcpstack.layers.datagram import UDPTransport
from kcpstack.layers.relay import ClientRelayFactory, ServerRelayFactory
from kcpstack.options import Address, ClientSettings, Options, ServerSettings, Target
from kcpstack.server import Server
from kcpstack.snmp import Reports
from kcpstack.stack import Surroundings

__all__ = ["ClientService", "ServerService", "Options", "makeService", "resolveName"]


def makeService(options: Options) -> Service:
    """The service that a parsed command line asks for: what twistd calls."""
    from twisted.internet import reactor  # twistd chooses the reactor before it calls

    settings = options.settings()
    if isinstance(settings, ClientSettings):
        return ClientService(reactor, settings)
    return ServerService(reactor, settings)


class ClientService(Service):
    """Listens for TCP connections and carries each on a stream to the server."""

    name = "kcptun client"

    def __init__(self, reactor: Any, settings: ClientSettings, randomBytes: Any = os.urandom) -> None:
        self._reactor = reactor
        self._settings = settings
        self.counters = Counters()
        self.client = Client(
            settings,
            Surroundings(reactor, self.counters, randomBytes),
            lambda peer: UDPTransport(reactor, self.counters, peer=peer, buffers=settings.sockbuf),
            lambda host: resolveName(reactor, host),
        )
        self._relays = ClientRelayFactory(self.client.openStream, reactor, quiet=settings.quiet)
        self.reports = Reports(
            reactor,
            self.counters,
            lambda: [link.conversation for link in self.client.links],
            settings.snmplog,
            settings.snmpperiod,
        )
        self.port: Any = None  # IListeningPort, once started

    def privilegedStartService(self) -> None:
        """Listen, while twistd still may on a port below 1024.  Raises CannotListenError."""
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        super().startService()
        if self.port is None:
            self._listen()
        self.client.start()
        local, peer = shown(self.port.getHost()), self._settings.remoteaddr
        _log.info("Listening on TCP {local}, for the server at {peer}", local=local, peer=peer)

    def _listen(self) -> None:
        self.reports.start()
        local = self._settings.localaddr
        self.port = self._reactor.listenTCP(local.port, self._relays, BACKLOG, _interface(local))

    def stopService(self) -> Any:
        super().stopService()
        stopped = defer.maybeDeferred(self.port.stopListening) if self.port is not None else None
        self.client.close()
        self.reports.stop()
        return stopped


class ServerService(Service):
    """Listens for KCP sessions on a UDP port and connects each of their streams to the target."""

    name = "kcptun server"

    def __init__(self, reactor: Any, settings: ServerSettings, randomBytes: Any = os.urandom) -> None:
        self._settings = settings
        self._listening = False
        self.counters = Counters()
        listen = settings.listen
        transport = UDPTransport(reactor, self.counters, listen.host, listen.port, buffers=settings.sockbuf)
        relays = ServerRelayFactory(targetEndpoint(reactor, settings.target), reactor, quiet=settings.quiet)
        self.server = Server(settings, Surroundings(reactor, self.counters, randomBytes), transport, relays)
        self.reports = Reports(
            reactor, self.counters, self.server.conversations, settings.snmplog, settings.snmpperiod
        )

    def privilegedStartService(self) -> None:
        """Listen, while twistd still may on a port below 1024.  Raises CannotListenError."""
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        super().startService()
        if not self._listening:
            self._listen()
        listen = shown(self.server.port.transport.getHost())
        _log.info("Listening on UDP {listen}, for the target {target}", listen=listen, target=self._settings.target)

    def _listen(self) -> None:
        self.reports.start()
        self.server.open()
        self._listening = True

    def stopService(self) -> Any:
        super().stopService()
        self.reports.stop()
        return self.server.close()


def targetEndpoint(reactor: Any, target: Target) -> Any:
    """The IStreamClientEndpoint of a server's ``--target``."""
    if isinstance(target, Address):
        return endpoints.HostnameEndpoint(reactor, target.host, target.port)
    return endpoints.UNIXClientEndpoint(reactor, target.path)


def resolveName(reactor: Any, host: str) -> defer.Deferred[str]:
    """An address of ``host``, numeric: the first of IPv4, as Go's client takes it, or else the first.
    Fails with DNSLookupError where there is none."""
    result: defer.Deferred[str] = defer.Deferred()
    reactor.nameResolver.resolveHostName(_Addresses(host, result), host, transportSemantics="UDP")
    return result


@implementer(IResolutionReceiver)
class _Addresses:
    def __init__(self, host: str, result: defer.Deferred[str]) -> None:
        self._host = host
        self._result = result
        self._found: list[Any] = []

    def resolutionBegan(self, resolution: Any) -> None:
        """Nothing to do: a resolution is not cancelled."""

    def addressResolved(self, address: Any) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address)

    def resolutionComplete(self) -> None:
        if not self._found:
            self._result.errback(DNSLookupError(f"no address is known of the host {self._host!r}"))
            return
        best = min(self._found, key=lambda address: isinstance(address, IPv6Address))
        self._result.callback(best.host)


def _interface(address: Address) -> str:
    """The interface to listen on: all of them, both families where possible, for an empty host."""
    return address.host or ("::" if socket.has_dualstack_ipv6() else "")


BACKLOG = 1024  # connections not yet accepted; a browser opens dozens at once, a proxy hundreds

_log = Logger()
