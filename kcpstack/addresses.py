"""Addresses: that of a KCP session's end, and how all kinds are written in log lines."""

from __future__ import annotations

import os
from dataclasses import dataclass

from twisted.internet.interfaces import IAddress
from zope.interface import implementer

__all__ = ["KCPAddress", "shown"]

MAPPED = "::ffff:"  # in front of an IPv4 address, where a socket takes both families


@implementer(IAddress)
@dataclass(frozen=True)
class KCPAddress:
    """One end of a KCP session: what ``getPeer`` and ``getHost`` of its transport, and of its streams, return.

    ``host`` is numeric and ``port`` UDP's; ``conv`` is the session's number on the wire, None for a port
    that many sessions share."""

    host: str
    port: int
    conv: int | None = None

    def __str__(self) -> str:
        return shown(self)


def shown(address: object) -> str:
    """``host:port`` (``[host]:port`` for IPv6) of a socket's address tuple or an IAddress that has
    these; the path, or whatever it says of itself, of any other."""
    if isinstance(address, tuple):
        host, port = address[:2]
    elif hasattr(address, "host") and hasattr(address, "port"):
        host, port = address.host, address.port
    elif hasattr(address, "name"):
        return os.fsdecode(address.name) if address.name else "a Unix socket"  # a client's seldom has a name
    else:
        return str(address)
    if host.startswith(MAPPED) and "." in host:
        host = host[len(MAPPED) :]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
