"""Our own layers by name, but for ciphers (kcpstack/ciphers/builtin.py), for ``twisted.plugins`` to find.

Every command imports this to learn the names, so what is slow to import waits until it is built.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from kcpstack.interfaces import (
    ICompressor,
    ICompressorFactory,
    ICongestionControl,
    ICongestionControlFactory,
    IDatagramTransport,
    IDatagramTransportFactory,
    IErasureCode,
    IErasureCodeFactory,
    IRelayTarget,
    ISharedListening,
)

if TYPE_CHECKING:
    from kcpstack.transports import TransportContext

__all__ = ["connect", "endpoint", "fixed", "reedsolomon", "slowstart", "snappy", "udp"]


class _Named:
    name: str

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


@implementer(IErasureCodeFactory)
class ReedSolomonFactory(_Named):
    """kcptun's own code: any data and parity shards with a sum of 256 at most."""

    name = "reedsolomon"

    def build(self, dataShards: int, parityShards: int) -> IErasureCode:
        """See IErasureCodeFactory."""
        from kcpstack.kernels.reedsolomon import ReedSolomon

        return ReedSolomon(dataShards, parityShards)


@implementer(ICompressorFactory)
class SnappyFactory(_Named):
    """kcptun's own compression."""

    name = "snappy"

    def build(self) -> ICompressor:
        """See ICompressorFactory."""
        from kcpstack.layers.snappy import SnappyCodec

        return SnappyCodec()


@implementer(ICongestionControlFactory)
class FixedFactory(_Named):
    """No congestion control: what --nc 1 is."""

    name = "fixed"

    def build(self, sendWindow: int) -> ICongestionControl:
        """See ICongestionControlFactory."""
        from kcpstack.kernels.congestion import FixedWindow

        return FixedWindow(sendWindow)


@implementer(ICongestionControlFactory)
class SlowStartFactory(_Named):
    """Slow start and congestion avoidance: what --nc 0 is."""

    name = "slowstart"

    def build(self, sendWindow: int) -> ICongestionControl:
        """See ICongestionControlFactory."""
        from kcpstack.kernels.congestion import SlowStart

        return SlowStart(sendWindow)


@implementer(IDatagramTransportFactory, ISharedListening)
class UDPFactory(_Named):
    """Plain UDP: a socket for each session that is dialled, one for each port that is listened on."""

    name = "udp"
    overhead = 0

    def dial(self, context: TransportContext, host: str, port: int, ports: range) -> IDatagramTransport:
        """See IDatagramTransportFactory."""
        from kcpstack.layers.datagram import UDPTransport

        return UDPTransport(
            context.reactor,
            context.counters,
            peer=(host, port),
            buffers=context.buffers,
            dscp=context.dscp,
            shared=context.shared,
        )

    def listen(self, context: TransportContext, host: str, ports: range) -> IDatagramTransport:
        """See IDatagramTransportFactory."""
        from kcpstack.layers.datagram import UDPTransport
        from kcpstack.layers.portrange import UDPRange

        reactor, counters, buffers, dscp = context.reactor, context.counters, context.buffers, context.dscp
        if len(ports) > 1:
            return UDPRange(reactor, counters, host, ports, buffers=buffers, dscp=dscp)
        return UDPTransport(reactor, counters, host, ports[0], buffers=buffers, dscp=dscp)

    def listenOn(self, context: TransportContext, sockets: Sequence[socket.socket]) -> IDatagramTransport:
        """See ISharedListening."""
        from kcpstack.layers.datagram import UDPTransport
        from kcpstack.layers.portrange import UDPRange

        reactor, counters, dscp = context.reactor, context.counters, context.dscp
        if len(sockets) > 1:
            ports = [sock.getsockname()[1] for sock in sockets]
            return UDPRange(reactor, counters, "", ports, dscp=dscp, sockets=sockets)
        return UDPTransport(reactor, counters, dscp=dscp, sock=sockets[0])


@implementer(IRelayTarget)
class ConnectTarget(_Named):
    """What ``--target`` means without an @: a TCP address, or the path of a Unix socket."""

    name = "connect"

    def endpoint(self, reactor: Any, argument: str) -> IStreamClientEndpoint:
        """See IRelayTarget."""
        from kcpstack.names import targetEndpoint
        from kcpstack.options.addresses import TargetAddress

        return targetEndpoint(reactor, TargetAddress().parse(argument))


@implementer(IRelayTarget)
class EndpointTarget(_Named):
    """Whatever Twisted has, or a plug-in of it: ``@endpoint:tls:example.org:443``."""

    name = "endpoint"

    def endpoint(self, reactor: Any, argument: str) -> IStreamClientEndpoint:
        """See IRelayTarget."""
        if not argument:
            raise ValueError("give one of Twisted's client endpoint strings, as in @endpoint:tls:example.org:443")
        try:
            found: IStreamClientEndpoint = clientFromString(reactor, argument)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:  # RuntimeError: a backslash at the end
            raise ValueError(
                f"give one of Twisted's client endpoint strings, as in @endpoint:tls:example.org:443 ({error})"
            ) from None
        return found


reedsolomon = ReedSolomonFactory()
snappy = SnappyFactory()
fixed = FixedFactory()
slowstart = SlowStartFactory()
udp = UDPFactory()
connect = ConnectTarget()
endpoint = EndpointTarget()
