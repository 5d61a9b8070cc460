"""What becomes of an endpoint's connections when the reactor stops.

TCP's kernel goes on sending for a program that has ended; a session over UDP needs the program for that.  So the
reactor's end waits for what closed connections have still to deliver, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorCore

from kcpstack.client import Client
from kcpstack.closing import Outcome
from kcpstack.server import Server

__all__ = ["CLOSE_WAIT", "AtShutdown", "ended"]

# s.  Programs end right after they have closed their connections.  Nobody waits that long for a peer that is gone: it is
# taken for silent before.
CLOSE_WAIT = 30.0


def ended(sessions: Client | Server, closewait: float | None) -> defer.Deferred[Outcome]:
    """End ``sessions``.  Connections that nobody has closed are aborted, and what the others have still to send gets
    CLOSE_WAIT seconds; or all get ``closewait`` seconds, where that is given, to be closed and to be done."""
    return sessions.finish(CLOSE_WAIT) if closewait is None else sessions.drain(closewait)


class AtShutdown:
    """Has ``close()`` called when the reactor stops, where that is one that can stop, and the Deferreds that it returns
    waited for; between ``add`` and ``remove``, which may both be called again.  ``now`` does the same at any time."""

    def __init__(self, reactor: Any, close: Callable[[], list[defer.Deferred[Any]]]) -> None:
        self._reactor = reactor if IReactorCore.providedBy(reactor) else None
        self._close = close
        self._trigger: Any = None

    def add(self) -> None:
        """Have it called."""
        if self._trigger is None and self._reactor is not None:
            self._trigger = self._reactor.addSystemEventTrigger("before", "shutdown", self._fired)

    def remove(self) -> None:
        """Have it called no more."""
        trigger, self._trigger = self._trigger, None
        if trigger is not None and self._reactor is not None:
            self._reactor.removeSystemEventTrigger(trigger)

    def now(self) -> defer.Deferred[None]:
        """Call it, and fire when all that it returns has."""
        return defer.DeferredList(self._close()).addCallback(lambda outcomes: None)

    def _fired(self) -> defer.Deferred[None]:
        self._trigger = None
        return self.now()
