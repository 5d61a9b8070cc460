"""Where the two worlds meet: to Twisted a protocol, to asyncio a transport.

::

    asyncio.Protocol     data_received, eof_received, pause_writing ...    write, close, pause_reading ...
                                     ^                                        |
    StreamTransport                  |                                        v
                                     |                                        |
    a Twisted transport  dataReceived, readConnectionLost, pauseProducing  write, loseConnection, pauseProducing ...

It knows nothing of KCP: whatever a Twisted stream endpoint connects will do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.aio.errors import asyncioError

__all__ = ["StreamTransport"]


@implementer(IHalfCloseableProtocol, IPushProducer)
class StreamTransport(asyncio.Transport, Protocol):
    """One connection: ``transport`` is Twisted's, and ``protocol`` asyncio's (a Protocol or BufferedProtocol).

    ``protocol.connection_lost`` comes in a turn of its own: with None where the connection was closed or this end
    aborted it, else with an exception (kcpstack/aio/errors.py).  ``lost(stream)`` is called right after it.

    ``pause_writing`` is called when Twisted's transport asks for a pause, and ``resume_writing`` when it has room again.
    How much that is, is the transport's own affair; the limits of ``set_write_buffer_limits``, 0 unless set, are of
    what is written beyond that.  Where our direction has been ended with ``write_eof``, ``drain`` waits no more.

    ``get_extra_info`` knows ``peername`` and ``sockname``, each (host, port), and ``twisted_transport``."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        lost: Callable[[StreamTransport], object],
    ) -> None:
        super().__init__()
        self._loop = loop
        self._protocol: Any = protocol
        self._lost = lost
        self._facts: dict[str, Any] = {}
        self._error: BaseException | None = None  # what the asyncio protocol raised
        self._aborted = False
        self._closing = False
        self._writesEnded = False
        self._readsEnded = False
        self._readingPaused = False
        self._full = False  # Twisted's transport asks us to pause
        self._beyond = 0  # bytes written since
        self._limits = (0, 0)
        self._writingPaused = False  # and the asyncio protocol knows

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} to {self.get_extra_info('peername')}>"

    # ------------------------------------------------------------ from Twisted: IHalfCloseableProtocol

    def connectionMade(self) -> None:
        twisted: Any = self.transport
        peer, host = _nameOf(twisted.getPeer()), _nameOf(twisted.getHost())
        self._facts = {"peername": peer, "sockname": host, "twisted_transport": twisted}
        twisted.registerProducer(self, True)
        self._guarded(self._protocol.connection_made, self)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        if isinstance(self._protocol, asyncio.BufferedProtocol):
            self._guarded(_fill, self._protocol, data)
        else:
            self._guarded(self._protocol.data_received, data)

    def readConnectionLost(self) -> None:
        self._readsEnded = True
        if not self._closing and not self._guarded(self._protocol.eof_received):
            self.close()

    def writeConnectionLost(self) -> None:
        """Nothing that asyncio has a word for."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        error = self._error
        if error is None and not self._aborted and not isinstance(reason.value, ConnectionDone):
            error = asyncioError(reason)
        self._loop.call_soon(self._over, error)

    def _over(self, error: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._lost(self)

    def _guarded(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call the asyncio protocol; what it raises ends this connection, and is the loop's to report."""
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001 - a stranger's protocol must not end the stack below
            self._loop.call_exception_handler(
                {
                    "message": f"{self._protocol!r} raised; its connection is aborted",
                    "exception": error,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            if self._error is None:
                self._error = error
            self.abort()
            return True  # not to be closed any more

    # ------------------------------------------------------------ from Twisted: IPushProducer

    def pauseProducing(self) -> None:
        self._full = True
        self._pauseWhereFull()

    def resumeProducing(self) -> None:
        self._full = False
        self._beyond = 0
        if self._writingPaused:
            self._writingPaused = False
            self._guarded(self._protocol.resume_writing)

    def stopProducing(self) -> None:
        """``connectionLost`` follows."""

    def _pauseWhereFull(self) -> None:
        if self._full and not self._writingPaused and self._beyond >= self._limits[1]:
            self._writingPaused = True
            self._guarded(self._protocol.pause_writing)

    def _leave(self) -> None:
        """Be no producer any more: Twisted's transports end no direction before that."""
        transport: Any = self.transport
        transport.unregisterProducer()
        self.resumeProducing()

    # ------------------------------------------------------------ from asyncio: the whole

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._facts.get(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Hand over nothing more that arrives, and end once all that was written has gone out."""
        if not self._closing:
            self._closing = True
            transport: Any = self.transport
            if not self._writesEnded:
                self._leave()
            transport.loseConnection()

    def abort(self) -> None:
        """End at once; what was written and has not left is dropped."""
        if not self._aborted:
            self._closing = self._aborted = True
            transport: Any = self.transport
            transport.abortConnection()

    # ------------------------------------------------------------ from asyncio: reading

    def is_reading(self) -> bool:
        return not self._readingPaused and not self._closing

    def pause_reading(self) -> None:
        if self.is_reading():
            self._readingPaused = True
            self._askTwisted("pauseProducing")

    def resume_reading(self) -> None:
        if self._readingPaused and not self._closing:
            self._readingPaused = False
            self._askTwisted("resumeProducing")

    def _askTwisted(self, request: str) -> None:
        if not self._readsEnded:  # TCP would read the end once more
            getattr(self.transport, request)()

    # ------------------------------------------------------------ from asyncio: writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue ``data``; the buffer is the caller's again on return."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._writesEnded:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        transport: Any = self.transport
        transport.write(bytes(data))
        if self._full:
            self._beyond += len(data)
            self._pauseWhereFull()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return hasattr(self.transport, "loseWriteConnection")

    def write_eof(self) -> None:
        if not self.can_write_eof():
            raise NotImplementedError("this connection has no half-close")
        if not self._closing and not self._writesEnded:
            self._writesEnded = True
            transport: Any = self.transport
            self._leave()
            transport.loseWriteConnection()

    def get_write_buffer_size(self) -> int:
        """Bytes written since Twisted's transport asked for a pause; what it holds besides it does not tell."""
        return self._beyond

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._limits

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = 0 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._limits = (low, high)
        self._pauseWhereFull()


def _fill(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Give ``data`` to a protocol that brings its own buffers."""
    left = memoryview(data)
    while left:
        buffer = memoryview(protocol.get_buffer(len(left)))
        count = min(len(buffer), len(left))
        if not count:
            raise RuntimeError("get_buffer() returned an empty buffer")
        buffer[:count] = left[:count]
        protocol.buffer_updated(count)
        left = left[count:]


def _nameOf(address: Any) -> Any:
    """An IAddress as asyncio programs know addresses: (host, port) where it has these."""
    return (address.host, address.port) if hasattr(address, "host") and hasattr(address, "port") else address
