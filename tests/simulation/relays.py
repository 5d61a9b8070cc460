"""Relays in a random world: applications on TCP connections in memory, as the tunnel has them, instead of on streams.

A life's relays are those that a process of kcptun has (kcpstack/layers/relay.py).  The applications and all that is
expected of them are the same.
"""

from __future__ import annotations

from typing import Any

from memorytcp import LATENCY, MemoryTCP
from twisted.internet import defer
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from kcpstack.layers.relay import ClientRelayFactory, ServerRelayFactory

__all__ = ["clientRelays", "connectRelayed", "serverRelays"]


def serverRelays(world: Any, life: Any) -> ServerRelayFactory:
    """The factory of a server's streams: each leads to an application of its own."""
    return ServerRelayFactory(Target(world, life), world.clock, quiet=True)


def clientRelays(world: Any, life: Any) -> ClientRelayFactory:
    """What a client's connections are given to."""

    def openStream(protocol: Any) -> defer.Deferred[Any]:
        opened: defer.Deferred[Any] = life.it.openStream(protocol)
        return opened.addCallback(known, protocol.other.transport.peer.protocol)

    def known(stream: Any, application: Any) -> Any:
        world.streamOpened(application, stream)
        return stream

    return ClientRelayFactory(openStream, world.clock, quiet=True)


def connectRelayed(world: Any, life: Any, application: Any) -> None:
    """``application`` connects to the client's port."""
    near = life.relays.buildProtocol(None)
    MemoryTCP.pair(world.clock, application, near)


@implementer(IStreamClientEndpoint)
class Target:
    """Where a server's streams go."""

    def __init__(self, world: Any, life: Any) -> None:
        self._world = world
        self._life = life

    def connect(self, factory: Any) -> defer.Deferred[Any]:
        """See IStreamClientEndpoint."""
        connected: defer.Deferred[Any] = defer.Deferred(lambda result: call.cancel())

        def answered() -> None:
            protocol = factory.buildProtocol(None)
            application = self._world.application(self._life.end, self._life)
            application.relayedStream = protocol.other.transport
            MemoryTCP.pair(self._world.clock, application, protocol)
            connected.callback(protocol)

        call = self._world.clock.callLater(LATENCY, answered)
        return connected
