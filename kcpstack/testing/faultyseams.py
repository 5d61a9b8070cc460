"""The adapters behind FaultyLayer: one for each interface.  Each asks the layer what to spoil, and passes on the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IProtocol
from zope.interface import implementer

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.interfaces import (
    IBatchCipher,
    ICipherFactory,
    ICompressor,
    ICompressorFactory,
    ICongestionControl,
    ICongestionControlFactory,
    IDatagramReceiver,
    IDatagramTransport,
    IErasureCode,
    IErasureCodeFactory,
    IPacketCipher,
    ISessionTransport,
)
from kcpstack.layers.passing import PassingTransport

if TYPE_CHECKING:
    from kcpstack.testing.faulty import FaultyLayer

DELAY = 0.25  # s; longer than most retransmission timeouts


class _Faulty:
    """``inner``, with the faults of ``layer``."""

    def __init__(self, layer: FaultyLayer, inner: Any) -> None:
        self._layer = layer
        self._inner = inner


class _FaultyFactory(_Faulty):
    """A factory has its inner's name."""

    def __init__(self, layer: FaultyLayer, inner: Any) -> None:
        super().__init__(layer, inner)
        self.name = inner.name


# ------------------------------------------------------------------ datagrams


@implementer(IDatagramTransport, IDatagramReceiver)
class FaultyTransport(_Faulty):
    """A transport, and what it delivers to; each datagram of a batch can go wrong by itself."""

    def __init__(self, layer: FaultyLayer, inner: Any, clock: Any) -> None:
        super().__init__(layer, inner)
        self._clock = clock
        self._receiver: Any = None
        self._delayed: set[Any] = set()
        self.overhead = inner.overhead

    def startListening(self, receiver: Any) -> None:
        """See IDatagramTransport."""
        self._receiver = receiver
        self._inner.startListening(self)

    def getHost(self) -> Any:
        """See IDatagramTransport."""
        return self._inner.getHost()

    def stopListening(self) -> Any:
        """See IDatagramTransport."""
        self._receiver = None
        for call in self._delayed:
            call.cancel()
        self._delayed.clear()
        return self._inner.stopListening()

    def send(self, batch: Batch, address: Any) -> None:
        """See IDatagramTransport; raises, against it, where it is to."""
        datagrams: list[bytes] = []
        for datagram in map(bytes, batch):
            datagrams += self._fate("send", datagram, partial(self._sendLate, address))
        self._sendNow(datagrams, address)

    def datagramsReceived(self, batch: Batch) -> None:
        """See IDatagramReceiver."""
        arrived: list[tuple[bytes, Any]] = []
        for datagram, address in zip(list(map(bytes, batch)), batch.addresses or ()):
            fate = self._fate("receive", datagram, partial(self._deliverLate, address))
            arrived += [(each, address) for each in fate]
        self._deliver(arrived)

    def connectionRefused(self) -> None:
        """See IDatagramReceiver."""
        if self._receiver is not None:
            self._receiver.connectionRefused()

    def _fate(self, operation: str, datagram: bytes, later: Callable[[bytes], None]) -> list[bytes]:
        """What becomes of one datagram now: none, one or two."""
        spoiling = self._layer.spoils(operation)
        if spoiling is None:
            return [datagram]
        if spoiling.fault == "raise":
            raise spoiling.error()
        if spoiling.fault == "delay":
            self._later(later, datagram)
        if spoiling.fault in ("lose", "delay"):
            return []
        return [datagram, datagram] if spoiling.fault == "repeat" else [spoiling.spoiled(datagram)]

    def _later(self, what: Callable[[bytes], None], datagram: bytes) -> None:
        def due() -> None:
            self._delayed.discard(call)
            what(datagram)

        call = self._clock.callLater(DELAY, due)
        self._delayed.add(call)

    def _sendLate(self, address: Any, datagram: bytes) -> None:
        self._sendNow([datagram], address)

    def _deliverLate(self, address: Any, datagram: bytes) -> None:
        self._deliver([(datagram, address)])

    def _sendNow(self, datagrams: list[bytes], address: Any) -> None:
        if datagrams:
            batch = outboundBatch(max(map(len, datagrams)) + self.overhead, self.overhead)
            for datagram in datagrams:
                batch.append(datagram)
            self._inner.send(batch, address)

    def _deliver(self, arrived: list[tuple[bytes, Any]]) -> None:
        if arrived and self._receiver is not None:
            batch = inboundBatch([datagram for datagram, _ in arrived], [address for _, address in arrived])
            self._receiver.datagramsReceived(batch)


# ------------------------------------------------------------------ ciphers


@implementer(ICipherFactory)
class FaultyCipherFactory(_FaultyFactory):
    """Builds faulty ciphers."""

    def build(self, key: bytes, randomBytes: Callable[[int], bytes]) -> Any:
        """See ICipherFactory."""
        _raiseFor(self._layer, "buildCipher")
        return self._layer.cipher(self._inner.build(key, randomBytes))


@implementer(IPacketCipher)
class FaultyPacketCipher(_Faulty):
    """One datagram at a time."""

    def __init__(self, layer: FaultyLayer, inner: Any) -> None:
        super().__init__(layer, inner)
        self.overhead = inner.overhead

    def seal(self, datagram: memoryview) -> bytes:
        """See IPacketCipher."""
        return _result(self._layer, "seal", lambda: self._inner.seal(datagram))

    def open(self, datagram: memoryview) -> bytes | None:
        """See IPacketCipher."""
        spoiling = self._layer.spoils("open")
        if spoiling is None:
            opened: bytes | None = self._inner.open(datagram)
            return opened
        if spoiling.fault == "raise":
            raise spoiling.error()
        opened = None if spoiling.fault == "refuse" else self._inner.open(datagram)
        return None if opened is None else spoiling.spoiled(bytes(opened))


@implementer(IBatchCipher)
class FaultyBatchCipher(_Faulty):
    """A whole batch: one datagram of it is spoiled, or the call fails."""

    def __init__(self, layer: FaultyLayer, inner: Any) -> None:
        super().__init__(layer, inner)
        self.overhead = inner.overhead

    def sealBatch(self, batch: Batch) -> None:
        """See IBatchCipher."""
        spoiling = self._layer.spoils("seal")
        if spoiling is not None and spoiling.fault == "raise":
            raise spoiling.error()
        self._inner.sealBatch(batch)
        if spoiling is not None and len(batch):
            _spoilOne(batch, spoiling)

    def openBatch(self, batch: Batch) -> int:
        """See IBatchCipher."""
        spoiling = self._layer.spoils("open")
        if spoiling is not None and spoiling.fault == "raise":
            raise spoiling.error()
        refused: int = self._inner.openBatch(batch)
        if spoiling is None or not len(batch):
            return refused
        if spoiling.fault == "refuse":
            index = spoiling.pick(len(batch))
            del batch.starts[index], batch.ends[index]
            if batch.addresses is not None:
                del batch.addresses[index]
            return refused + 1
        _spoilOne(batch, spoiling)
        return refused


def _spoilOne(batch: Batch, spoiling: Any) -> None:
    """Change one datagram of a batch where it lies; longer than there is room for it does not become."""
    index = spoiling.pick(len(batch))
    start, end = batch.starts[index], batch.ends[index]
    spoiled = spoiling.spoiled(bytes(batch.buffer[start:end]))
    later = [other for other in batch.starts if other > start]
    room = min([*later, len(batch.buffer)]) - start
    spoiled = spoiled[:room]
    batch.buffer[start : start + len(spoiled)] = spoiled
    batch.ends[index] = start + len(spoiled)


# ------------------------------------------------------------------ erasure codes


@implementer(IErasureCodeFactory)
class FaultyErasureCodeFactory(_FaultyFactory):
    """Builds faulty codes."""

    def build(self, dataShards: int, parityShards: int) -> Any:
        """See IErasureCodeFactory."""
        _raiseFor(self._layer, "buildCode")
        return self._layer.erasureCode(self._inner.build(dataShards, parityShards))


@implementer(IErasureCode)
class FaultyErasureCode(_Faulty):
    """One shard is spoiled or missing, or the call fails."""

    def __init__(self, layer: FaultyLayer, inner: Any) -> None:
        super().__init__(layer, inner)
        self.dataShards = inner.dataShards
        self.parityShards = inner.parityShards

    def encode(self, shards: Sequence[bytes]) -> list[bytes]:
        """See IErasureCode."""
        spoiling = self._layer.spoils("encode")
        if spoiling is not None and spoiling.fault == "raise":
            raise spoiling.error()
        parity: list[bytes] = self._inner.encode(shards)
        if spoiling is None:
            return parity
        index = spoiling.pick(len(parity))
        if spoiling.fault == "lose":
            return [*parity[:index], *parity[index + 1 :]]
        return [*parity[:index], spoiling.spoiled(parity[index]), *parity[index + 1 :]]

    def reconstruct(self, shards: dict[int, bytes]) -> dict[int, bytes]:
        """See IErasureCode."""
        spoiling = self._layer.spoils("reconstruct")
        if spoiling is not None and spoiling.fault in ("raise", "refuse"):
            raise spoiling.error() if spoiling.fault == "raise" else ValueError(str(spoiling))
        rebuilt: dict[int, bytes] = dict(self._inner.reconstruct(shards))
        if spoiling is None or not rebuilt:
            return rebuilt
        index = sorted(rebuilt)[spoiling.pick(len(rebuilt))]
        shard = rebuilt.pop(index)
        if spoiling.fault != "lose":
            rebuilt[index] = spoiling.spoiled(shard)
        return rebuilt


# ------------------------------------------------------------------ compressors


@implementer(ICompressorFactory)
class FaultyCompressorFactory(_FaultyFactory):
    """Builds faulty compressors."""

    def build(self) -> Any:
        """See ICompressorFactory."""
        _raiseFor(self._layer, "buildCompressor")
        return self._layer.compressor(self._inner.build())


@implementer(ICompressor)
class FaultyCompressor(_Faulty):
    """What a call returns is spoiled, or the call fails."""

    def compress(self, data: bytes) -> bytes:
        """See ICompressor."""
        return _result(self._layer, "compress", lambda: self._inner.compress(data))

    def decompress(self, data: bytes) -> bytes:
        """See ICompressor."""
        return _result(self._layer, "decompress", lambda: self._inner.decompress(data))


# ------------------------------------------------------------------ congestion controls


@implementer(ICongestionControlFactory)
class FaultyCongestionControlFactory(_FaultyFactory):
    """Builds faulty controls."""

    def build(self, sendWindow: int) -> Any:
        """See ICongestionControlFactory."""
        _raiseFor(self._layer, "buildControl")
        return self._layer.congestionControl(self._inner.build(sendWindow))


@implementer(ICongestionControl)
class FaultyCongestionControl(_Faulty):
    """Events are missed or heard twice; the window is negative, zero or far too large now and then."""

    @property
    def window(self) -> int:
        """See ICongestionControl."""
        spoiling = self._layer.spoils("window")
        if spoiling is None:
            window: int = self._inner.window
            return window
        if spoiling.fault == "raise":
            raise spoiling.error()
        return (0, -1, -1000)[spoiling.pick(3)] if spoiling.fault == "shorten" else 1 << 40

    def acknowledged(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl."""
        self._tell(self._inner.acknowledged, segments, inFlight, now)

    def skipped(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl."""
        self._tell(self._inner.skipped, segments, inFlight, now)

    def timedOut(self, segments: int, inFlight: int, now: float) -> None:
        """See ICongestionControl."""
        self._tell(self._inner.timedOut, segments, inFlight, now)

    def _tell(self, event: Callable[[int, int, float], None], segments: int, inFlight: int, now: float) -> None:
        spoiling = self._layer.spoils("event")
        if spoiling is not None and spoiling.fault == "raise":
            raise spoiling.error()
        times = 1 if spoiling is None else 2 if spoiling.fault == "repeat" else 0
        for _ in range(times):
            event(segments, inFlight, now)


# ------------------------------------------------------------------ above KCP


@implementer(IProtocol, ISessionTransport)
class FaultyProtocol(PassingTransport):
    """Between a session and the protocol above it: an IProtocol below, an ISessionTransport above."""

    def __init__(self, layer: FaultyLayer, protocol: Any) -> None:
        self._layer = layer
        self._protocol = protocol

    def makeConnection(self, transport: Any) -> None:
        """See IProtocol."""
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """See IProtocol."""
        self._protocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        """See IProtocol."""
        for piece in self._fate("dataReceived", data):
            self._protocol.dataReceived(piece)

    def connectionLost(self, reason: Any) -> None:
        """See IProtocol."""
        self._protocol.connectionLost(reason)

    def write(self, data: bytes) -> None:
        """See ITransport."""
        for piece in self._fate("write", data):
            self.transport.write(piece)

    def _fate(self, operation: str, data: bytes) -> list[bytes]:
        spoiling = self._layer.spoils(operation)
        if spoiling is None:
            return [data]
        if spoiling.fault == "raise":
            raise spoiling.error()
        if spoiling.fault == "repeat":
            return [data, data]
        spoiled = b"" if spoiling.fault == "lose" else spoiling.spoiled(data)
        return [spoiled] if spoiled else []


def _raiseFor(layer: FaultyLayer, operation: str) -> None:
    """Fail a build, where it is to."""
    spoiling = layer.spoils(operation)
    if spoiling is not None:
        raise spoiling.error() if spoiling.fault == "raise" else ValueError(str(spoiling))


def _result(layer: FaultyLayer, operation: str, call: Callable[[], bytes]) -> bytes:
    """What ``call`` returns, or what becomes of it."""
    spoiling = layer.spoils(operation)
    if spoiling is None:
        return call()
    if spoiling.fault in ("raise", "refuse"):
        raise spoiling.error() if spoiling.fault == "raise" else ValueError(str(spoiling))
    result = bytes(call())
    return b"" if spoiling.fault == "lose" else spoiling.spoiled(result)
