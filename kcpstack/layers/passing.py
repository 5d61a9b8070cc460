"""What a layer that only changes bytes has of a transport: all but ``write`` is passed on below."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IAddress, IProducer

from kcpstack.interfaces import ISessionTransport, IStreamTransport

__all__ = ["PassingTransport"]


class PassingTransport:
    """A transport (ITransport, IConsumer, IPushProducer) above that is ``transport`` below.  ``write`` is the
    layer's own."""

    transport: ISessionTransport | IStreamTransport

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        self.transport.abortConnection()

    def getPeer(self) -> IAddress:
        return self.transport.getPeer()

    def getHost(self) -> IAddress:
        return self.transport.getHost()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.transport.stopProducing()
