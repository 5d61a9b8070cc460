"""From what options name to what can be connected to."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import defer, endpoints
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IResolutionReceiver
from zope.interface import implementer

from kcpstack.options import Address, Target, UnixAddress

__all__ = ["listenStream", "resolveName", "targetEndpoint"]


def listenStream(reactor: Any, local: Target, factory: Any) -> Any:
    """Listen at a client's ``--localaddr``; returns the IListeningPort.  Raises CannotListenError."""
    if isinstance(local, UnixAddress):
        # The lock beside the socket lets a file that a killed process left behind be told from one in use.
        return reactor.listenUNIX(local.path, factory, BACKLOG, wantPID=True)
    everywhere = "::" if socket.has_dualstack_ipv6() else ""
    return reactor.listenTCP(local.port, factory, BACKLOG, local.host or everywhere)


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


BACKLOG = 1024  # connections not yet accepted; a browser opens dozens at once, a proxy hundreds
