"""How addresses are written in log lines: one form for all."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["shown"]

MAPPED = "::ffff:"  # in front of an IPv4 address, where a socket takes both families


def shown(address: Any) -> str:
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
