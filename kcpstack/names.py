"""From what options name to what can be connected to."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - names need it, and what is first imported after chroot or setuid may not be found
import ipaddress
import socket
from typing import Any, NoReturn

from twisted.internet import defer, endpoints
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import DNSLookupError, TimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IListeningPort,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer

from kcpstack.interfaces import IRelayTarget
from kcpstack.listening import AcceptErrors
from kcpstack.options import Address, RelayTarget, Target, UnixAddress
from kcpstack.seams import RELAY_TARGETS

__all__ = ["listenStream", "resolveName", "targetEndpoint"]


def listenStream(reactor: Any, local: Address | UnixAddress, factory: IProtocolFactory) -> IListeningPort:
    """Listen at a client's ``--localaddr``.  Raises CannotListenError, and OSError
    of a Unix socket's lock."""
    if isinstance(local, UnixAddress):
        # The lock beside the socket lets a file that a killed process left behind be told from one in use.
        port: IListeningPort = reactor.listenUNIX(local.path, factory, BACKLOG, wantPID=True)
    else:
        everywhere = "::" if socket.has_dualstack_ipv6() else ""
        port = reactor.listenTCP(local.port, factory, BACKLOG, local.host or everywhere)
    AcceptErrors(reactor).watch(port)
    return port


def targetEndpoint(reactor: Any, target: Target) -> IStreamClientEndpoint:
    """The endpoint of a server's ``--target``.  Raises ValueError where that is a relay target
    which does not take its argument."""
    if isinstance(target, RelayTarget):
        found: IRelayTarget = RELAY_TARGETS.find(target.name)
        return found.endpoint(reactor, target.argument)
    if isinstance(target, UnixAddress):
        return endpoints.UNIXClientEndpoint(reactor, target.path)
    literal = _literal(target.host)
    if literal is None:
        return endpoints.HostnameEndpoint(reactor, target.host, target.port)
    kind = endpoints.TCP6ClientEndpoint if ":" in literal else endpoints.TCP4ClientEndpoint
    return kind(reactor, literal, target.port)


def resolveName(reactor: Any, host: str) -> defer.Deferred[str]:
    """An address of ``host``, numeric: the first of IPv4, as Go's client takes it, or else the first.
    Fails with DNSLookupError where there is none, and with TimeoutError where that is not known after
    RESOLVE_TIMEOUT seconds."""
    literal = _literal(host)
    if literal is not None:
        return defer.succeed(literal)
    result: defer.Deferred[str] = defer.Deferred()
    result.addTimeout(RESOLVE_TIMEOUT, reactor, _tooLate)
    reactor.nameResolver.resolveHostName(_Addresses(host, result), host, transportSemantics="UDP")
    return result


def _literal(host: str) -> str | None:
    """``host`` where it is an address already, which needs no resolver and no thread; IPv4 in the guise of IPv6
    as IPv4, for that is how it has to leave."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return host if mapped is None else str(mapped)


def _tooLate(result: object, seconds: float) -> NoReturn:
    raise TimeoutError(string=f"its name was not resolved within {seconds:.0f} s: does this machine reach its DNS?")


@implementer(IResolutionReceiver)
class _Addresses:
    def __init__(self, host: str, result: defer.Deferred[str]) -> None:
        self._host = host
        self._result = result
        self._found: list[IPv4Address | IPv6Address] = []

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """Nothing to do: a resolution is not cancelled."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._found.append(address)

    def resolutionComplete(self) -> None:
        if not self._found:
            self._result.errback(DNSLookupError(f"no address is known of the host {self._host!r}"))
            return
        best = min(self._found, key=lambda address: isinstance(address, IPv6Address))
        self._result.callback(best.host)


# s; the system's resolver asks each of three servers twice for 5 s.  One that raises never answers at all.
RESOLVE_TIMEOUT = 40.0
BACKLOG = 1024  # connections not yet accepted; a browser opens dozens at once, a proxy hundreds
