"""asyncio connections and servers over kcp.

Named as in asyncio, and used alike.  What ``loop.create_connection`` has for TCP alone (``ssl``, ``sock``,
``local_addr`` ...) they do not take; every option of kcptun is a keyword instead (docs/options.rst), and ``timeout`` is
that of ``KCPClientEndpoint``.  Its ``mux`` is refused: sessions are shared by the connections of one endpoint object.

When the loop ends, what closed connections have still to send gets ``closewait`` seconds, CLOSE_WAIT of
kcpstack/shutdown.py unless given, and the sessions time to part from their peers; connections that nobody has closed are
aborted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kcpstack.aio import endpoints
from kcpstack.aio.endpoints import LIMIT
from kcpstack.aio.reactor import get_running_reactor
from kcpstack.aio.server import Server
from kcpstack.endpoints import KCPClientEndpoint, KCPServerEndpoint

__all__ = ["create_connection", "create_server", "open_connection", "start_server"]


async def open_connection(
    host: str, port: int, *, limit: int = LIMIT, **options: Any
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a kcp server; return (reader, writer).

    Raises OSError where that fails: ConnectionRefusedError, TimeoutError, socket.gaierror; ValueError where an option
    is wrong.  Cancelling it leaves nothing behind."""
    return await endpoints.open_endpoint_connection(_client(host, port, options), limit)


async def start_server(
    client_connected_cb: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    host: str | None,
    port: int,
    *,
    limit: int = LIMIT,
    **options: Any,
) -> Server:
    """Listen for kcp connections at UDP ``port`` (0: any) of ``host`` (None: all addresses); call
    ``client_connected_cb(reader, writer)`` for each, in a task of its own where it is a coroutine function.

    Raises OSError where it cannot listen, ValueError where an option is wrong."""
    return await endpoints.start_endpoint_server(client_connected_cb, _server(host, port, options), limit)


async def create_connection(
    protocol_factory: Callable[[], asyncio.BaseProtocol], host: str, port: int, **options: Any
) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    """As ``open_connection``, for an asyncio protocol; returns (transport, protocol)."""
    return await endpoints.create_endpoint_connection(protocol_factory, _client(host, port, options))


async def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol], host: str | None, port: int, **options: Any
) -> Server:
    """As ``start_server``, with an asyncio protocol for each connection."""
    return await endpoints.create_endpoint_server(protocol_factory, _server(host, port, options))


def _client(host: str, port: int, options: dict[str, Any]) -> KCPClientEndpoint:
    if options.get("mux"):
        raise ValueError(
            f"mux={options['mux']}: each call has sessions of its own here; make one KCPClientEndpoint with mux=True, and give "
            "it to create_endpoint_connection or open_endpoint_connection each time"
        )
    return KCPClientEndpoint(get_running_reactor(), host, port, **options)


def _server(host: str | None, port: int, options: dict[str, Any]) -> KCPServerEndpoint:
    return KCPServerEndpoint(get_running_reactor(), port, interface=host or "", **options)
