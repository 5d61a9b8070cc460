"""A Twisted reactor on an asyncio loop that somebody else runs.

Twisted's AsyncioSelectorReactor works on a loop without ``reactor.run()`` as long as it is asked for file descriptors and
timers only.  LoopReactor sees to the rest: it takes names from the loop's resolver instead of a thread pool that nobody
starts, it has no pipe of its own to be woken by, since the loop has one, and it shuts down as the loop does.  It is never
installed: ``twisted.internet.reactor`` is left alone.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import weakref
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface import implementer

__all__ = ["LoopReactor", "LoopResolver", "get_running_reactor"]


def get_running_reactor() -> AsyncioSelectorReactor:
    """The Twisted reactor of the running asyncio loop, for Twisted endpoints that are to be used there.

    Where the program has installed the asyncio reactor on this loop and runs it, that one; else a LoopReactor, the same
    for all who ask on one loop while anybody uses it.  Raises RuntimeError where no loop is running, and TypeError on
    Windows' proactor loop, which cannot watch sockets."""
    loop = asyncio.get_running_loop()
    installed = sys.modules.get("twisted.internet.reactor")  # importing it would install one
    if isinstance(installed, AsyncioSelectorReactor) and installed.running and installed._asyncioEventloop is loop:
        return installed
    known = _reactors.get(loop)
    reactor = known() if known is not None else None
    if reactor is None or not reactor.running:
        reactor = LoopReactor(loop)
        _reactors[loop] = weakref.ref(reactor)
    return reactor


class LoopReactor(AsyncioSelectorReactor):
    """File descriptors, timers, names and ``callFromThread`` on ``loop``, which is running.

    Its clock is the loop's, so it never goes back.  It has no thread pool and watches no signals and processes;
    ``stop`` raises ReactorNotRunning, for the loop is not ours to stop.

    It shuts down, with all triggers that Twisted's code has set for that, when the loop does: in
    ``loop.shutdown_asyncgens()``, which asyncio.run calls after it has cancelled the tasks.  Those of ``streams`` that
    nobody has closed by then are aborted."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = loop.time
        super().__init__(loop)
        self.installNameResolver(LoopResolver(loop))
        self.running = True  # so that callWhenRunning calls
        self.streams: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()
        self._end = self._untilLoopEnds()
        with suppress(StopIteration):  # one step, as far as the yield: the loop knows of it from then on
            self._end.__anext__().__await__().send(None)

    def installWaker(self) -> None:
        """None: callFromThread wakes the loop itself."""

    def getThreadPool(self) -> NoReturn:
        """Raises RuntimeError: nobody would stop its threads."""
        raise RuntimeError("a reactor on a running asyncio loop has no thread pool: use loop.run_in_executor")

    def crash(self) -> None:
        """Be over, and leave the loop alone."""
        super(AsyncioSelectorReactor, self).crash()

    async def _untilLoopEnds(self) -> AsyncGenerator[None, None]:
        """An asynchronous generator, because that is what a loop tells of its end."""
        try:
            yield
        finally:
            await self._shutDown()

    async def _shutDown(self) -> None:
        for stream in list(self.streams):
            if not stream.is_closing():
                stream.abort()
        over: asyncio.Future[None] = self._asyncioEventloop.create_future()
        self.addSystemEventTrigger("after", "shutdown", over.set_result, None)
        self.fireSystemEvent("shutdown")
        await over


@implementer(IHostnameResolver)
class LoopResolver:
    """Names by ``loop.getaddrinfo``, in the loop's own executor."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """See IHostnameResolver.  What cannot be resolved has no addresses."""
        wanted = _FAMILIES if addressTypes is None else [family for family in _FAMILIES if family[1] in addressTypes]
        family = wanted[0][0] if len(wanted) == 1 else socket.AF_UNSPEC
        kind = socket.SOCK_DGRAM if transportSemantics == "UDP" else socket.SOCK_STREAM
        lookup = self._loop.create_task(self._lookUp(hostName, portNumber, family, kind))
        resolution = _Resolution(hostName, lookup)
        resolutionReceiver.resolutionBegan(resolution)

        def found(lookup: asyncio.Task[list[Any]]) -> None:
            if lookup.cancelled():
                return
            for family, _, _, _, address in lookup.result():
                if family in dict(_FAMILIES):
                    resolutionReceiver.addressResolved(dict(_FAMILIES)[family](transportSemantics, *address))
            resolutionReceiver.resolutionComplete()

        lookup.add_done_callback(found)
        return resolution

    async def _lookUp(self, host: str, port: int, family: int, kind: int) -> list[Any]:
        try:
            return list(await self._loop.getaddrinfo(host, port, family=family, type=kind))
        except (OSError, UnicodeError):  # unknown, or no name at all
            return []


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str, lookup: asyncio.Task[list[Any]]) -> None:
        self.name = name
        self._lookup = lookup

    def cancel(self) -> None:
        self._lookup.cancel()


_FAMILIES: list[tuple[int, Any]] = [(socket.AF_INET, IPv4Address), (socket.AF_INET6, IPv6Address)]

# Weak at both ends, for a reactor has its loop: what keeps one alive is whatever it watches or times.
_reactors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[LoopReactor]] = weakref.WeakKeyDictionary()
