"""What a layer that only changes bytes has of a transport: all but ``write`` is passed on below."""

from __future__ import annotations

from typing import Any

__all__ = ["PassingTransport"]


class PassingTransport:
    """A transport (ITransport, IConsumer, IPushProducer) above that is ``transport`` below.  ``write`` is the
    layer's own."""

    transport: Any = None

    def write(self, data: bytes) -> None:
        raise NotImplementedError

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self.transport.loseConnection()

    def abortConnection(self) -> None:
        self.transport.abortConnection()

    def getPeer(self) -> Any:
        return self.transport.getPeer()

    def getHost(self) -> Any:
        return self.transport.getHost()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.transport.stopProducing()
