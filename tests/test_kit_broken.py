"""Each suite of the kit fails on providers that are wrong: a suite that cannot fail would be worth nothing."""

from __future__ import annotations

import random
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from brokenlayers import complaint, properties
from smuxpairs import Pair
from twisted.internet.defer import succeed
from twisted.internet.endpoints import clientFromString
from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.builtin import ConnectTarget, UDPFactory
from kcpstack.ciphers import builtin
from kcpstack.ciphers.cfb import CFBCipher
from kcpstack.counters import Counters
from kcpstack.interfaces import (
    ICipherFactory,
    ICompressor,
    ICompressorFactory,
    ICongestionControlFactory,
    IErasureCodeFactory,
    IPacketCipher,
)
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.congestion import SlowStart
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.layers.datagram import UDPTransport
from kcpstack.layers.smux_stream import SmuxStream
from kcpstack.layers.snappy import SnappyCodec
from kcpstack.testing.arqs import ARQConformance
from kcpstack.testing.ciphers import CipherConformance
from kcpstack.testing.compressors import CompressorConformance
from kcpstack.testing.congestion import CongestionConformance
from kcpstack.testing.datagrams import DatagramTransportConformance
from kcpstack.testing.erasure import ErasureCodeConformance
from kcpstack.testing.streams import StreamTransportConformance
from kcpstack.testing.targets import RelayTargetConformance

SUITES = (
    ARQConformance,
    CipherConformance,
    CompressorConformance,
    CongestionConformance,
    DatagramTransportConformance,
    ErasureCodeConformance,
    RelayTargetConformance,
    StreamTransportConformance,
)


def factoryOf(interface: Any, build: Any) -> Any:
    @implementer(interface)
    class Factory:
        name = "broken"

    factory = Factory()
    factory.build = build  # type: ignore[attr-defined]
    return factory


def named(*classes: type) -> Any:
    return pytest.mark.parametrize("broken", classes, ids=lambda broken: broken.__name__)


def test_the_kit_checks_well_over_a_hundred_properties_and_the_page_says_how_many() -> None:
    assert sum(len(properties(suite)) for suite in SUITES) > 200
    page = (Path(__file__).parents[1] / "docs" / "kit.rst").read_text()
    for suite in SUITES:
        assert re.search(rf"\.{suite.__name__}`` .* {len(properties(suite))}$", page, re.MULTILINE), suite


# ------------------------------------------------------------------ ciphers


@implementer(IPacketCipher)
class Checked:
    """A good cipher of no secrecy: a checksum that depends on the key."""

    overhead = 4

    def __init__(self, key: bytes, randomBytes: Any) -> None:
        self.salt = zlib.crc32(key)

    def seal(self, datagram):
        return zlib.crc32(datagram, self.salt).to_bytes(4, "big") + bytes(datagram)

    def open(self, datagram):
        plain = bytes(datagram[4:])
        return plain if bytes(datagram[:4]) == zlib.crc32(plain, self.salt).to_bytes(4, "big") else None


class RaisesOnShort(Checked):
    def open(self, datagram):
        return super().open(datagram) if len(datagram) > 3 else datagram[3]


class ChecksNothing(Checked):
    def open(self, datagram):
        return bytes(datagram[4:]) if len(datagram) >= 4 else None


class ForgetsTheTail(Checked):
    def seal(self, datagram):
        return zlib.crc32(datagram[:36], self.salt).to_bytes(4, "big") + bytes(datagram)

    def open(self, datagram):
        good = bytes(datagram[:4]) == zlib.crc32(datagram[4:40], self.salt).to_bytes(4, "big")
        return bytes(datagram[4:]) if good else None


class KeyDoesNotMatter(Checked):
    def __init__(self, key: bytes, randomBytes: Any) -> None:
        self.salt = 0


class LengthensEmptyOnes(Checked):
    def seal(self, datagram):
        return super().seal(datagram) + (b"" if len(datagram) else b"\0")


class ReturnsItsBuffer(Checked):
    buffer = bytearray(2000)

    def open(self, datagram):
        if super().open(datagram) is None:
            return None
        self.buffer[: len(datagram) - 4] = datagram[4:]
        return memoryview(self.buffer)[: len(datagram) - 4]


class KeepsTheView(Checked):
    def open(self, datagram):
        self.last = datagram
        return super().open(datagram)


class NeedsEveryDatagram(Checked):
    """A keystream that runs on: what is lost or overtaken breaks the rest."""

    def __init__(self, key: bytes, randomBytes: Any) -> None:
        super().__init__(key, randomBytes)
        self.sent = self.got = 0

    def seal(self, datagram):
        self.sent += 1
        return zlib.crc32(datagram, self.salt + self.sent).to_bytes(4, "big") + bytes(datagram)

    def open(self, datagram):
        plain = bytes(datagram[4:])
        good = bytes(datagram[:4]) == zlib.crc32(plain, self.salt + self.got + 1).to_bytes(4, "big")
        self.got += good
        return plain if good else None


class RemembersEverything(Checked):
    def __init__(self, key: bytes, randomBytes: Any) -> None:
        super().__init__(key, randomBytes)
        self.seen: list[bytes] = []

    def open(self, datagram):
        self.seen.append(bytes(datagram) * 2)
        return super().open(datagram)


class ItsOwnChance(Checked):
    """Its nonces are nobody's to repeat."""

    overhead = 6

    def seal(self, datagram):
        return random.SystemRandom().randbytes(2) + super().seal(datagram)

    def open(self, datagram):
        return super().open(datagram[2:])


def test_the_good_cipher_passes() -> None:
    assert complaint(CipherConformance, factory=factoryOf(ICipherFactory, Checked)) == ""


@named(
    RaisesOnShort, ChecksNothing, ForgetsTheTail, KeyDoesNotMatter, LengthensEmptyOnes, ReturnsItsBuffer, KeepsTheView,
    NeedsEveryDatagram, RemembersEverything, ItsOwnChance,
)  # fmt: skip
def test_a_broken_cipher_fails(broken: type) -> None:
    attributes = {"unprotected": 2} if broken is ItsOwnChance else {}
    assert complaint(CipherConformance, factory=factoryOf(ICipherFactory, broken), **attributes)


def test_a_batch_cipher_that_leaves_its_slot_or_forgets_addresses_fails() -> None:
    class ForgetsAddresses(CFBCipher):
        def openBatch(self, batch: Batch) -> int:
            before = None if batch.addresses is None else list(batch.addresses)
            refused = super().openBatch(batch)
            batch.addresses = before
            return refused

    class MiscountsRefusals(CFBCipher):
        def openBatch(self, batch: Batch) -> int:
            return min(1, super().openBatch(batch))

    for broken in (ForgetsAddresses, MiscountsRefusals):

        def build(key: bytes, randomBytes: Any, broken: Any = broken) -> Any:
            made = builtin.aes.build(key, randomBytes)
            made.__class__ = broken
            return made

        assert complaint(CipherConformance, factory=factoryOf(ICipherFactory, build))


# ------------------------------------------------------------------ erasure codes


class ForgetsTheLastShard(ReedSolomon):
    def encode(self, shards):
        return super().encode([*shards[:-1], b"\0" * len(shards[-1])]) if len(shards) > 2 else super().encode(shards)


class TakesTooFew(ReedSolomon):
    def reconstruct(self, shards):
        return super().reconstruct(shards) if len(shards) >= self.dataShards else {}


class TakesAnyIndex(ReedSolomon):
    def reconstruct(self, shards):
        total = self.dataShards + self.parityShards
        return super().reconstruct({index: shard for index, shard in shards.items() if 0 <= index < total})


class GivesBackAll(ReedSolomon):
    def reconstruct(self, shards):
        held = {index: shard for index, shard in shards.items() if index < self.dataShards}
        return {**held, **super().reconstruct(shards)}


class SpoilsWhatItIsGiven(ReedSolomon):
    def reconstruct(self, shards):
        rebuilt = super().reconstruct(shards)
        shards.clear()
        return rebuilt


class ShortParity(ReedSolomon):
    def encode(self, shards):
        return [shard[: len(shards[0])] for shard in super().encode(shards)]


class DependsOnTheOrder(ReedSolomon):
    def reconstruct(self, shards):
        if list(shards) != sorted(shards):
            return {index: b"" for index in super().reconstruct(shards)}
        return super().reconstruct(shards)


class AnyNumbers(ReedSolomon):
    def __init__(self, dataShards, parityShards):
        super().__init__(max(1, dataShards), max(1, parityShards))
        self.dataShards, self.parityShards = dataShards, parityShards


class ByteArrays(ReedSolomon):
    def encode(self, shards):
        return [bytearray(shard) for shard in super().encode(shards)]


class WorksForLong(ReedSolomon):
    def reconstruct(self, shards):
        for _ in range(len(shards) ** 3):
            shards = dict(shards)
        return super().reconstruct(shards)


class KeepsAllGroups(ReedSolomon):
    def encode(self, shards):
        self.__dict__.setdefault("kept", []).append([bytes(shard) * 3 for shard in shards])
        return super().encode(shards)


@named(
    ForgetsTheLastShard, TakesTooFew, TakesAnyIndex, GivesBackAll, SpoilsWhatItIsGiven, ShortParity, DependsOnTheOrder,
    AnyNumbers, ByteArrays, WorksForLong, KeepsAllGroups,
)  # fmt: skip
def test_a_broken_erasure_code_fails(broken: type) -> None:
    assert complaint(ErasureCodeConformance, factory=factoryOf(IErasureCodeFactory, broken))


# ------------------------------------------------------------------ compressors


@implementer(ICompressor)
class Deflate:
    """A good one."""

    def __init__(self) -> None:
        self.out, self.into = zlib.compressobj(), zlib.decompressobj()

    def compress(self, data):
        return self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH) if data else b""

    def decompress(self, data):
        try:
            return self.into.decompress(data)
        except zlib.error as error:
            raise ValueError(str(error)) from None


class DoesNotFlush(Deflate):
    def compress(self, data):
        return self.out.compress(data)


class RaisesItsOwn(Deflate):
    def decompress(self, data):
        return self.into.decompress(data)


class WholeWritesOnly(Deflate):
    """Takes each delivery for one write."""

    def compress(self, data):
        return zlib.compress(data) if data else b""

    def decompress(self, data):
        try:
            return zlib.decompress(data) if data else b""
        except zlib.error as error:
            raise ValueError(str(error)) from None


class KeepsTheStream(Deflate):
    """In case somebody asks for it again."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[bytes] = []

    def decompress(self, data):
        self.all.append(bytes(bytearray(data)))
        return super().decompress(data)


class RunLengths(Deflate):
    """Sixteen bytes on the wire may stand for any number."""

    def __init__(self) -> None:
        self.held = b""

    def compress(self, data):
        if not data:
            return b""
        if len(set(data)) == 1:
            return b"r" + data[:1] + len(data).to_bytes(8, "big")
        return b"p" + data[:1] + len(data).to_bytes(8, "big") + data

    def decompress(self, data):
        self.held += data
        restored = b""
        while len(self.held) >= 10:
            kind, length = self.held[:1], int.from_bytes(self.held[2:10], "big")
            if kind not in (b"r", b"p") or length > 1 << 23:
                raise ValueError("damaged")
            if kind == b"r":
                restored += self.held[1:2] * length
                self.held = self.held[10:]
                continue
            if len(self.held) < 10 + length:
                break
            restored, self.held = restored + self.held[10 : 10 + length], self.held[10 + length :]
        return restored


class ReturnsAByteArray(SnappyCodec):
    def decompress(self, data):
        return bytearray(super().decompress(data))


shared = Deflate()


@named(DoesNotFlush, RaisesItsOwn, WholeWritesOnly, KeepsTheStream, RunLengths, ReturnsAByteArray)
def test_a_broken_compressor_fails(broken: type) -> None:
    assert complaint(CompressorConformance, factory=factoryOf(ICompressorFactory, broken))


def test_one_compressor_for_all_sessions_fails_and_a_good_one_passes() -> None:
    assert complaint(CompressorConformance, factory=factoryOf(ICompressorFactory, lambda: shared))
    assert complaint(CompressorConformance, factory=factoryOf(ICompressorFactory, Deflate)) == ""


# ------------------------------------------------------------------ congestion controls


class Unbounded(SlowStart):
    def acknowledged(self, segments, inFlight, now):
        self.window += segments


class ClosesEntirely(SlowStart):
    def timedOut(self, segments, inFlight, now):
        self.window = 0


class Fractions(SlowStart):
    def acknowledged(self, segments, inFlight, now):
        self.window = min(self.window + segments / self.window, self._limit)


class DividesByTime(SlowStart):
    latest = -1.0

    def acknowledged(self, segments, inFlight, now):
        rate = segments / (now - self.latest)
        self.latest = now
        self.window = max(1, min(self._limit, self.window + (rate > 0)))


class NeverOpensAgain(SlowStart):
    def acknowledged(self, segments, inFlight, now):
        pass

    def skipped(self, segments, inFlight, now):
        self.window = max(1, self.window // 2)


class LossOpensIt(SlowStart):
    def timedOut(self, segments, inFlight, now):
        self.window = min(self._limit, self.window * 2)


class CountsEachSegment(SlowStart):
    def acknowledged(self, segments, inFlight, now):
        for _ in range(min(segments, 2000)):
            super().acknowledged(1, inFlight, now)


class RemembersEachEvent(SlowStart):
    def __init__(self, limit):
        super().__init__(limit)
        self.events: list[Any] = []

    def acknowledged(self, segments, inFlight, now):
        self.events.append((segments, inFlight, now, "a" * 60 + str(now)))
        super().acknowledged(segments, inFlight, now)


class TossesCoins(SlowStart):
    def skipped(self, segments, inFlight, now):
        self.window = random.SystemRandom().randint(1, self._limit)


@named(
    Unbounded, ClosesEntirely, Fractions, DividesByTime, NeverOpensAgain, LossOpensIt, CountsEachSegment,
    RemembersEachEvent, TossesCoins,
)  # fmt: skip
def test_a_broken_congestion_control_fails(broken: type) -> None:
    assert complaint(CongestionConformance, factory=factoryOf(ICongestionControlFactory, broken))


# ------------------------------------------------------------------ ARQs


class DeliversTwice(ARQ):
    """Takes what FEC rebuilt for new."""

    def read(self, most):
        chunks = super().read(most)
        return chunks + chunks[-1:] if self.repeats else chunks


class NoTimeout(ARQ):
    def nextTimeout(self):
        return self._arrived.ackAt


class TimeoutInThePast(ARQ):
    def nextTimeout(self):
        due = super().nextTimeout()
        return due and 0.0


class NeverAsksForTheWindow(ARQ):
    def _probeClosedWindow(self, now):
        self._probeAt = None

    def read(self, most):
        return self._arrived.read(most)


class IgnoresTheCongestionWindow(ARQ):
    def _sendRoom(self):
        return self._una + min(self._tuning.sendWindow, self._remoteWindow) - self._nxt


class OneTooMany(ARQ):
    def _sendRoom(self):
        return super()._sendRoom() + 1


class ChokesOnGarbage(ARQ):
    def datagramsReceived(self, batch, now, recovered=False):
        for datagram in batch:
            datagram[23]
        super().datagramsReceived(batch, now, recovered)


class HoldsTheBuffer(ARQ):
    def datagramsReceived(self, batch, now, recovered=False):
        self.__dict__.setdefault("views", []).append(memoryview(batch.buffer))
        super().datagramsReceived(batch, now, recovered)


class FlushesEverything(ARQ):
    def flush(self, now, batch, most=64):
        while super().flush(now, batch, 64):
            pass
        return False


class WalksItsWindow(ARQ):
    def flush(self, now, batch, most=64):
        for sn in list(self._segments):
            self._segments[sn].sn = sn
        return super().flush(now, batch, most)


class TellsTheControlNothing(ARQ):
    def _findLost(self, now, early):
        control, self._congestion = self._congestion, SlowStart(1000)
        super()._findLost(now, early)
        self._congestion = control


@named(
    DeliversTwice, NoTimeout, TimeoutInThePast, NeverAsksForTheWindow, IgnoresTheCongestionWindow, OneTooMany,
    ChokesOnGarbage, HoldsTheBuffer, FlushesEverything, WalksItsWindow, TellsTheControlNothing,
)  # fmt: skip
def test_a_broken_arq_fails(broken: Any) -> None:
    def newARQ(self: Any, mtu: int, sendWindow: int, receiveWindow: int, congestion: Any) -> Any:
        tuning = Tuning(sendWindow=sendWindow, receiveWindow=receiveWindow, resend=2)
        return broken(7, mtu, tuning, congestion, Counters())

    assert complaint(ARQConformance, newARQ=newARQ)


# ------------------------------------------------------------------ datagram transports


class Backwards(UDPTransport):
    def send(self, batch, address):
        batch.starts.reverse()
        batch.ends.reverse()
        super().send(batch, address)


class KeepsTheBatch(UDPTransport):
    def send(self, batch, address):
        self._reactor.callLater(0, super().send, batch, address)


class SendsShort(UDPTransport):
    def send(self, batch, address):
        batch.ends = [min(end, start + 1000) for start, end in zip(batch.starts, batch.ends)]
        super().send(batch, address)


class RaisesAfterClose(UDPTransport):
    def send(self, batch, address):
        self._socket.fileno()
        super().send(batch, address)


class NoDeferred(UDPTransport):
    def stopListening(self):
        super().stopListening()


class GoesOnAfterClose(UDPTransport):
    def stopListening(self):
        return succeed(None)


class ListsForAddresses(UDPTransport):
    def startListening(self, receiver):
        class Listing:
            connectionRefused = receiver.connectionRefused

            def datagramsReceived(self, batch):
                batch.addresses = [list(address) for address in batch.addresses]
                receiver.datagramsReceived(batch)

        super().startListening(Listing())


class LiesAboutItsOverhead(UDPTransport):
    overhead = 8


class CountsNoErrors(UDPTransport):
    def _sendFailed(self, error, count, address):
        pass


@named(
    Backwards, KeepsTheBatch, SendsShort, RaisesAfterClose, NoDeferred, GoesOnAfterClose, ListsForAddresses,
    LiesAboutItsOverhead, CountsNoErrors,
)  # fmt: skip
def test_a_broken_transport_fails(broken: Any) -> None:
    class Factory(UDPFactory):
        def dial(self, context: Any, host: str, port: int, ports: range) -> Any:
            return broken(context.reactor, context.counters, peer=(host, port))

        def listen(self, context: Any, host: str, ports: range) -> Any:
            return broken(context.reactor, context.counters, host, ports[0])

    assert complaint(DatagramTransportConformance, factory=Factory())


# ------------------------------------------------------------------ relay targets


class TakesNonsense(ConnectTarget):
    def endpoint(self, reactor, argument):
        return super().endpoint(reactor, argument if ":" in argument and argument[-1].isdigit() else "localhost:1")


class SaysNothing(ConnectTarget):
    def endpoint(self, reactor, argument):
        try:
            return super().endpoint(reactor, argument)
        except ValueError:
            raise ValueError from None


class RaisesKeyError(ConnectTarget):
    def endpoint(self, reactor, argument):
        try:
            return super().endpoint(reactor, argument)
        except ValueError:
            raise KeyError(argument) from None


class ReturnsText(ConnectTarget):
    def endpoint(self, reactor, argument):
        super().endpoint(reactor, argument)
        return f"tcp:{argument}"


class ConnectsAtOnce(ConnectTarget):
    def endpoint(self, reactor, argument):
        reactor.connectTCP("localhost", 1, None)
        return super().endpoint(reactor, argument)


class LongName(ConnectTarget):
    name = "My:Target"


class RawString(ConnectTarget):
    def endpoint(self, reactor, argument):
        return clientFromString(reactor, "tcp:" + argument)


@named(TakesNonsense, SaysNothing, RaisesKeyError, ReturnsText, ConnectsAtOnce, LongName, RawString)
def test_a_broken_relay_target_fails(broken: type) -> None:
    good, bad = ("127.0.0.1:80",), ("", "nonsense")
    assert complaint(RelayTargetConformance, target=broken(), goodArguments=good, badArguments=bad)
    assert complaint(RelayTargetConformance, target=ConnectTarget(), goodArguments=good, badArguments=bad) == ""


# ------------------------------------------------------------------ streams


def noWayOut(stream: Any) -> None:
    """Does nothing."""


def takesAnything(stream: Any, data: Any) -> None:
    written(stream, bytes(data, "utf-8") if isinstance(data, str) else bytes(data or b""))


written = SmuxStream.write
WRONG = {
    "a half-close that closes both directions": ("loseWriteConnection", SmuxStream.loseConnection),
    "a half-close that is forgotten": ("loseWriteConnection", noWayOut),
    "a pause that is not heard": ("pauseProducing", noWayOut),
    "an abort that looks like a close": ("abortConnection", SmuxStream.loseConnection),
    "a write that takes anything": ("write", takesAnything),
    "a producer that is never asked": ("registerProducer", lambda stream, producer, streaming: None),
    "a close that aborts": ("loseConnection", SmuxStream.abortConnection),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_broken_stream_fails(wrong: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: Any, near: Any, far: Any) -> Any:
        pair = Pair(2, seed=1, protocol=lambda: far)
        pair.open(near)
        return pair.clock

    monkeypatch.setattr(SmuxStream, *wrong)
    assert complaint(StreamTransportConformance, connect=connect)
