"""A listening port of Twisted's as asyncio's Server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Factory

from kcpstack.aio.reactor import LoopReactor, get_running_reactor
from kcpstack.aio.transport import StreamTransport

__all__ = ["ListeningAddress", "Server", "StreamFactory"]


class StreamFactory(Factory):
    """Twisted's factory around asyncio's: a StreamTransport for each connection, kept in ``streams`` while it lives.
    ``whenEmpty``, set by whoever wants to know, is called each time that the last one has ended."""

    noisy = False

    def __init__(self, protocol_factory: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._reactor = get_running_reactor()
        self._protocolFactory = protocol_factory
        self.streams: set[StreamTransport] = set()
        self.whenEmpty: Callable[[], object] = lambda: None

    def buildProtocol(self, addr: Any) -> Any:
        stream = StreamTransport(self._loop, self._protocolFactory(), self._lost)
        self.streams.add(stream)
        if isinstance(self._reactor, LoopReactor):
            self._reactor.streams.add(stream)
        return stream

    def _lost(self, stream: StreamTransport) -> None:
        self.streams.discard(stream)
        if not self.streams:
            self.whenEmpty()


class ListeningAddress(NamedTuple):
    """Where a server listens; what asyncio's servers have sockets for."""

    host: str
    port: int

    def getsockname(self) -> tuple[str, int]:
        """As a socket's: (host, port)."""
        return self.host, self.port


class Server(asyncio.AbstractServer):
    """As asyncio.Server (of Python 3.13, whichever it runs on); it listens from the start.

    ``close`` stops listening and leaves connections alone; ``wait_closed`` waits for their end.  ``async with`` does
    both at its end; where an exception or a cancellation is that end, it does not wait."""

    def __init__(self, port: Any, factory: StreamFactory) -> None:
        """``port`` is an IListeningPort whose connections ``factory`` makes."""
        self._loop = asyncio.get_running_loop()
        self._port = port
        self._factory = factory
        self._closing = False
        self._stopped = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._forever: asyncio.Future[None] | None = None
        factory.whenEmpty = self._check

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'closed' if self._closing else self._port.getHost()}>"

    async def __aexit__(self, *exc: object) -> None:
        self.close()
        if exc[0] is None:
            await self.wait_closed()

    @property
    def sockets(self) -> tuple[ListeningAddress, ...]:
        """Where it listens: ``server.sockets[0].getsockname()`` is (host, port).  Empty once it is closed."""
        if self._closing:
            return ()
        address = self._port.getHost()
        return (ListeningAddress(address.host, address.port),)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return not self._closing

    async def start_serving(self) -> None:
        """Nothing to do: it serves."""

    async def serve_forever(self) -> None:
        """Serve until this task is cancelled, and close then; or until the server is closed.  CancelledError either
        way."""
        if self._closing:
            raise RuntimeError(f"server {self!r} is closed")
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        self._forever = self._loop.create_future()
        try:
            await self._forever
        finally:
            self._forever = None
            self.close()

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        stopping: Deferred[Any] = maybeDeferred(self._port.stopListening)
        stopping.addErrback(self._stopFailed)
        stopping.addCallback(self._stopListened)
        if self._forever is not None:
            self._forever.cancel()

    def close_clients(self) -> None:
        """Close all connections there are."""
        for stream in list(self._factory.streams):
            stream.close()

    def abort_clients(self) -> None:
        """Abort all connections there are."""
        for stream in list(self._factory.streams):
            stream.abort()

    async def wait_closed(self) -> None:
        """Return once it is closed and all its connections have ended."""
        await asyncio.shield(self._closed)

    def _stopFailed(self, failure: Any) -> None:
        self._loop.call_exception_handler({"message": f"{self._port!r} could not be closed", "exception": failure.value})

    def _stopListened(self, result: Any) -> None:
        self._stopped = True
        self._check()

    def _check(self) -> None:
        if self._stopped and not self._factory.streams and not self._closed.done():
            self._closed.set_result(None)
