"""What a datagram transport is made with, and the one that comes with us: plain UDP.

Public, for whoever writes an ``IDatagramTransportFactory``: ``TransportContext`` may gain attributes, and loses none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zope.interface import implementer

from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramTransport, IDatagramTransportFactory
from kcpstack.layers.datagram import Shared, UDPTransport
from kcpstack.layers.portrange import UDPRange

__all__ = ["TransportContext", "UDPFactory", "udp"]


@dataclass(frozen=True)
class TransportContext:
    """What the transports of one process, or of one endpoint, are made with.

    ``reactor`` is the reactor (IReactorTime, IReactorFDSet), ``counters`` what to count in, ``randomBytes(n)``
    returns n random bytes, ``buffers`` is --sockbuf in bytes and ``dscp`` --dscp.  ``shared`` is what all sockets
    made with it have in common: UDPTransport takes it."""

    reactor: Any
    counters: Counters
    randomBytes: Callable[[int], bytes]
    buffers: int = 0
    dscp: int = 0
    shared: Shared = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shared", Shared(self.reactor))


@implementer(IDatagramTransportFactory)
class UDPFactory:
    """Plain UDP: a socket for each session that is dialled, one for each port that is listened on."""

    name = "udp"
    overhead = 0

    def dial(self, context: TransportContext, host: str, port: int, ports: range) -> IDatagramTransport:
        """See IDatagramTransportFactory."""
        transport: IDatagramTransport = UDPTransport(
            context.reactor,
            context.counters,
            peer=(host, port),
            buffers=context.buffers,
            dscp=context.dscp,
            shared=context.shared,
        )
        return transport

    def listen(self, context: TransportContext, host: str, ports: range) -> IDatagramTransport:
        """See IDatagramTransportFactory."""
        reactor, counters, buffers, dscp = context.reactor, context.counters, context.buffers, context.dscp
        transport: IDatagramTransport
        if len(ports) > 1:
            transport = UDPRange(reactor, counters, host, ports, buffers=buffers, dscp=dscp)
        else:
            transport = UDPTransport(reactor, counters, host, ports[0], buffers=buffers, dscp=dscp)
        return transport


udp = UDPFactory()
