"""asyncio connections and servers on any Twisted stream endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kcpstack.aio.errors import asyncioError
from kcpstack.aio.server import Server, StreamFactory
from kcpstack.aio.transport import StreamTransport

__all__ = [
    "LIMIT",
    "create_endpoint_connection",
    "create_endpoint_server",
    "open_endpoint_connection",
    "start_endpoint_server",
]

LIMIT = 2**16  # bytes; what asyncio's own streams have


async def create_endpoint_connection(
    protocol_factory: Callable[[], asyncio.BaseProtocol], endpoint: Any
) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
    """Connect ``endpoint`` (IStreamClientEndpoint, on the reactor of ``get_running_reactor``); return
    (transport, protocol), as ``loop.create_connection`` does.

    Raises OSError where that fails (kcpstack/aio/errors.py).  Cancelling it cancels the connecting, or aborts the
    connection if that is already there."""
    factory = StreamFactory(protocol_factory)
    stream: StreamTransport = await _result(endpoint.connect(factory), StreamTransport.abort)
    return stream, stream.get_protocol()


async def create_endpoint_server(protocol_factory: Callable[[], asyncio.BaseProtocol], endpoint: Any) -> Server:
    """Listen at ``endpoint`` (IStreamServerEndpoint); each connection gets a protocol from ``protocol_factory``.

    Raises OSError where that fails."""
    factory = StreamFactory(protocol_factory)
    return Server(await _result(endpoint.listen(factory), _stopListening), factory)


async def open_endpoint_connection(
    endpoint: Any, limit: int = LIMIT
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As ``create_endpoint_connection``; returns (reader, writer), as ``asyncio.open_connection`` does."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await create_endpoint_connection(lambda: protocol, endpoint)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def start_endpoint_server(
    client_connected_cb: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    endpoint: Any,
    limit: int = LIMIT,
) -> Server:
    """As ``create_endpoint_server``; calls ``client_connected_cb(reader, writer)`` for each connection, as
    ``asyncio.start_server`` does."""
    loop = asyncio.get_running_loop()

    def newProtocol() -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        return asyncio.StreamReaderProtocol(reader, client_connected_cb, loop=loop)

    return await create_endpoint_server(newProtocol, endpoint)


async def _result(deferred: Deferred[Any], drop: Callable[[Any], Any]) -> Any:
    """What ``deferred`` fires with; its failure as an exception of asyncio's.  Where the task is cancelled, the Deferred
    is, or ``drop`` is called with the result that came first."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def fired(result: Any) -> None:
        if not future.cancelled():
            future.set_result(result)
        elif not isinstance(result, Failure):
            drop(result)

    deferred.addBoth(fired)
    try:
        result = await future
    except asyncio.CancelledError:
        if future.cancelled():
            deferred.cancel()
        elif not isinstance(future.result(), Failure):
            drop(future.result())
        raise
    if isinstance(result, Failure):
        raise asyncioError(result)
    return result


def _stopListening(port: Any) -> Any:
    return port.stopListening()
