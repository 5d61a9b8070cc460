"""QPP between a smux stream and the protocol on it (docs/qpp): a layer of the stream, not of the session.

::

    relay                an IProtocol; its transport is
    PaddedStream         an IStreamTransport above, an IProtocol below; its transport is
    SmuxStream

On the client the protocol that a stream is opened for goes into a PaddedStream; on the server the
factory whose protocols answer streams goes into a PaddedFactory.  Both ends need the same pads: a stream
does not show whether it is padded, and one that is padded otherwise comes out as rubbish.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

from kcpstack.interfaces import IStreamTransport
from kcpstack.kernels.qpp import Pads
from kcpstack.layers.passing import PassingTransport
from kcpstack.layers.tcpmanners import TCPManners

__all__ = ["PaddedFactory", "PaddedStream"]


@implementer(IProtocol, IStreamTransport)
class PaddedStream(PassingTransport, TCPManners):
    """One stream whose bytes go through pads.

    Above, the protocol sees it as its transport; all that it promises is what the stream below
    promises, for QPP changes no length and keeps nothing back."""

    transport: IStreamTransport

    def __init__(self, protocol: IProtocol, pads: Pads) -> None:
        """``protocol`` is connected when this is."""
        self._protocol = protocol
        self._encryptor = pads.encryptor()
        self._decryptor = pads.decryptor()

    def __conform__(self, interface: InterfaceClass) -> object:
        """Whoever asks for an IHalfCloseableProtocol gets the protocol's, if it is one: a half-close
        is nothing to us."""
        return interface(self._protocol, None) if interface is IHalfCloseableProtocol else None

    # IProtocol, for the stream below

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = cast(IStreamTransport, transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        self._protocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        self._protocol.dataReceived(self._decryptor.crypt(data))

    def connectionLost(self, reason: Failure) -> None:
        self._protocol.connectionLost(reason)

    # IStreamTransport, for the protocol above

    @property
    def streamID(self) -> int:
        return self.transport.streamID

    @property
    def disconnecting(self) -> bool:
        below: Any = self.transport  # Twisted's protocols ask for it, and no interface of Twisted's has it
        return bool(below.disconnecting)

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"only bytes can be written, not {type(data).__name__}")
        self.transport.write(self._encryptor.crypt(data))

    def loseWriteConnection(self) -> None:
        self.transport.loseWriteConnection()


@implementer(IProtocolFactory)
class PaddedFactory:
    """Builds what ``factory`` builds, each in a PaddedStream."""

    def __init__(self, factory: IProtocolFactory, pads: Pads) -> None:
        self._factory = factory
        self._pads = pads

    def buildProtocol(self, addr: IAddress) -> PaddedStream | None:
        protocol = self._factory.buildProtocol(addr)
        return None if protocol is None else PaddedStream(protocol, self._pads)

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()
