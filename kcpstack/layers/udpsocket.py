"""UDP sockets: opening one, marking what it sends, and what its errors mean to the user.

Source: udp(7), ip(7), ipv6(7); RFC 2474 for the six bits of a DSCP in the IPv4 TOS and the IPv6 traffic class.
"""

from __future__ import annotations

import errno
import socket

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kcpstack.addresses import shown

__all__ = ["SocketErrors", "markTraffic", "openSocket"]


def openSocket(
    host: str, port: int, peer: tuple[str, int] | None, buffers: int, shared: bool = False
) -> socket.socket:
    """A non-blocking socket bound to ``host`` and ``port`` ("" is every address, both families where
    the system allows), or connected to ``peer``, with kernel buffers of ``buffers`` bytes each way (0: the
    system's).  ``shared``: more of this user's sockets may have the port, if they were opened so too.  Raises OSError."""
    name = peer[0] if peer is not None else host
    family = socket.AF_INET6 if ":" in name or (not name and socket.has_dualstack_ipv6()) else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not name else 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if buffers:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        if peer is not None:
            sock.connect(peer)
        else:
            sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def markTraffic(sock: socket.socket, dscp: int) -> None:
    """Mark what ``sock`` sends from now on with ``dscp`` (0 to 63), in each family that it sends.

    Raises OSError where the system refuses, after it has marked what it could."""
    options = [(socket.IPPROTO_IP, socket.IP_TOS)]
    if sock.family == socket.AF_INET6:
        if sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            options.clear()
        options.append((socket.IPPROTO_IPV6, socket.IPV6_TCLASS))
    refusal = None
    for level, option in options:
        try:
            sock.setsockopt(level, option, dscp << ECN_BITS)
        except OSError as error:
            refusal = error
    if refusal is not None:
        raise refusal


class SocketErrors:
    """Tells the user of errors of sockets: for each kind of error one line in PERIOD seconds of
    ``clock``, with what to do about it where that is known.  The ARQ sends again what was
    lost, so none is more than a warning."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._quietUntil: dict[int, float] = {}  # by errno
        self._unsaid: dict[int, int] = {}

    def happened(self, error: OSError, peer: object) -> None:
        """``error`` came of sending to ``peer`` (as ``shown`` takes it, or None), or of what the network
        said of that."""
        kind = error.errno or 0
        now = self._clock.seconds()
        if now < self._quietUntil.get(kind, 0.0):
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._quietUntil[kind] = now + PERIOD
        remedy = REMEDIES.get(kind)
        count = self._unsaid.pop(kind, 0)
        _log.warn(
            "UDP{peer}: {error}{remedy}{more}",
            peer=f" to {shown(peer)}" if peer else "",
            error=error.strerror or str(error),
            remedy=f": {remedy}" if remedy else "",
            more=f" ({count} more like this since the last such line)" if count else "",
        )


ECN_BITS = 2  # below the DSCP in its byte; the network's to use (RFC 3168)
PERIOD = 60.0  # s

_NO_ROUTE = "there is no route, or a firewall on the way rejects it; is the network up, and the address right?"
REMEDIES = {
    errno.ENETUNREACH: _NO_ROUTE,
    errno.EHOSTUNREACH: _NO_ROUTE,
    errno.ENETDOWN: "bring the network up",
    errno.EPERM: "a firewall on this machine (nftables, iptables) forbids sending it",
    errno.EACCES: "this machine's routes or rules forbid it",
    errno.ENOBUFS: "the device's queue is full; harmless, what is lost is sent again",
    errno.EMSGSIZE: "the path takes no datagrams as long as these; lower --mtu",
    errno.EAFNOSUPPORT: "this machine does not speak that address family",
}

_log = Logger()
