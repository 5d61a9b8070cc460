"""The six layers pass the conformance suites that kcpstack ships, and keep what they promise beyond these."""

from __future__ import annotations

import zlib

import pytest
from kcpstack_example.aead import NUMBERS, ChaChaFactory
from kcpstack_example.aimd import HalvingFactory
from kcpstack_example.deflate import DeflateFactory
from kcpstack_example.echo import EchoTarget
from kcpstack_example.erasure import ReedSoloFactory
from kcpstack_example.hopping import HopFactory
from twisted.internet.error import ConnectionAborted, ConnectionDone, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.testing.ciphers import CipherConformance, openOne, sealOne
from kcpstack.testing.compressors import CompressorConformance
from kcpstack.testing.congestion import CongestionConformance
from kcpstack.testing.datagrams import DatagramTransportConformance
from kcpstack.testing.erasure import ErasureCodeConformance, sampleShards
from kcpstack.testing.targets import RelayTargetConformance


class TestChaCha(CipherConformance):
    factory = ChaChaFactory()


class TestReedSolo(ErasureCodeConformance):
    factory = ReedSoloFactory()
    most = 64


class TestDeflate(CompressorConformance):
    factory = DeflateFactory()
    expansion = 128


class TestHalving(CongestionConformance):
    factory = HalvingFactory()


class TestHop(DatagramTransportConformance):
    factory = HopFactory()
    portCount = 4


class TestHopWithOnePort(DatagramTransportConformance):
    factory = HopFactory()


class TestEcho(RelayTargetConformance):
    target = EchoTarget()
    badArguments = ("x", "127.0.0.1:80")


# ------------------------------------------------------------------ the cipher


class Prefixes:
    """Stands for random bytes: a number that grows."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, count: int) -> bytes:
        self.asked += 1
        return self.asked.to_bytes(count, "big")


def test_no_two_datagrams_have_one_nonce() -> None:
    cipher = ChaChaFactory().build(bytes(32), Prefixes())
    nonces = {sealOne(cipher, b"the same")[:12] for _ in range(1000)}
    assert len(nonces) == 1000


def test_after_the_last_number_there_is_another_prefix() -> None:
    chance = Prefixes()
    cipher = ChaChaFactory().build(bytes(32), chance)
    cipher._next = NUMBERS - 2
    sealed = [sealOne(cipher, b"datagram") for _ in range(4)]
    assert len({each[:12] for each in sealed}) == 4
    assert chance.asked == 2
    assert {openOne(cipher, each) for each in sealed} == {b"datagram"}


# ------------------------------------------------------------------ the erasure code


@pytest.mark.parametrize(("d", "p"), [(1, 63), (63, 1), (32, 32), (20, 10)])
def test_codes_of_any_size_rebuild(d: int, p: int) -> None:
    code = ReedSoloFactory().build(d, p)
    shards = sampleShards(d)
    group = dict(enumerate(shards + code.encode(shards)))
    for lost in (0, d // 2, d - 1)[:p]:
        group.pop(lost, None)
    for index, shard in code.reconstruct(group).items():
        assert shard[: len(shards[index])] == shards[index]


def test_numbers_that_would_hold_up_all_sessions_are_refused_with_what_would_do() -> None:
    for d, p in ((63, 2), (2, 63), (128, 127)):
        with pytest.raises(ValueError, match="64 at most"):
            ReedSoloFactory().build(d, p)


# ------------------------------------------------------------------ the compressor


def test_a_bomb_is_refused() -> None:
    with pytest.raises(ValueError, match="grows by more"):
        DeflateFactory().build().decompress(zlib.compress(bytes(1_000_000)))


def test_a_stream_that_ends_is_refused_for_good() -> None:
    codec = DeflateFactory().build()
    for data in (zlib.compress(b"short"), b"more"):
        with pytest.raises(ValueError, match="ends"):
            codec.decompress(data)


# ------------------------------------------------------------------ the congestion control


def test_one_flight_halves_the_window_once() -> None:
    control = HalvingFactory().build(1000)
    while control.window < 64:
        control.acknowledged(1, control.window, 0.0)
    for _ in range(10):
        control.skipped(1, 64, 1.0)
    assert control.window == 32
    control.acknowledged(64, 32, 2.0)
    control.skipped(1, 32, 3.0)
    assert control.window == 16


def test_a_window_that_is_not_used_does_not_grow() -> None:
    control = HalvingFactory().build(1000)
    for _ in range(100):
        control.acknowledged(1, 0, 0.0)
    assert control.window == 10


# ------------------------------------------------------------------ the target


class Recorder(Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received = b""
        self.ends: list[object] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.ends.append(reason)


@implementer(IHalfCloseableProtocol)
class HalfRecorder(Recorder):
    """One that hears of half-closes."""

    def readConnectionLost(self) -> None:
        self.ends.append("read")

    def writeConnectionLost(self) -> None:
        self.ends.append("write")


class Producer:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


def connected(protocol: Recorder) -> tuple[Clock, Recorder]:
    clock = Clock()
    EchoTarget().endpoint(clock, "").connect(Factory.forProtocol(lambda: protocol))
    clock.advance(0)
    assert protocol.transport is not None
    return clock, protocol


class Failing(Factory):
    """Makes no protocol."""

    def buildProtocol(self, addr: object) -> None:
        raise ZeroDivisionError


class Refusing(Factory):
    """Wants none."""

    def buildProtocol(self, addr: object) -> None:
        return None


@pytest.mark.parametrize(("factory", "why"), [(Failing, ZeroDivisionError), (Refusing, NoProtocol)])
def test_who_waits_for_a_protocol_that_is_never_made_hears_why(
    factory: type[Factory], why: type[Exception]
) -> None:
    clock = Clock()
    failures: list[Failure] = []
    EchoTarget().endpoint(clock, "").connect(factory()).addErrback(failures.append)
    clock.advance(0)
    assert [failure.type for failure in failures] == [why]


def run(clock: Clock) -> None:
    while clock.getDelayedCalls():
        clock.advance(0)


def test_all_comes_back_before_the_end() -> None:
    clock, protocol = connected(HalfRecorder())
    for piece in (b"one ", b"two ", b"three"):
        protocol.transport.write(piece)
    protocol.transport.loseWriteConnection()
    protocol.transport.write(b"too late")
    run(clock)
    assert protocol.received == b"one two three"
    assert protocol.ends[0] == "read"
    assert protocol.ends[1].check(ConnectionDone)
    assert len(protocol.ends) == 2


def test_who_does_not_know_half_closes_hears_of_the_end_alone() -> None:
    clock, protocol = connected(Recorder())
    protocol.transport.write(b"all")
    protocol.transport.loseWriteConnection()
    run(clock)
    assert protocol.received == b"all"
    assert len(protocol.ends) == 1


def test_who_pauses_is_given_nothing_and_who_writes_on_is_paused() -> None:
    clock, protocol = connected(Recorder())
    producer = Producer()
    protocol.transport.registerProducer(producer, True)
    protocol.transport.pauseProducing()
    for _ in range(10):
        protocol.transport.write(bytes(10_000))
    run(clock)
    assert (protocol.received, producer.calls) == (b"", ["pause"])
    protocol.transport.resumeProducing()
    run(clock)
    assert (len(protocol.received), producer.calls) == (100_000, ["pause", "resume"])


@pytest.mark.parametrize(
    ("how", "why"), [("loseConnection", ConnectionDone), ("abortConnection", ConnectionAborted)]
)
def test_a_close_is_told_once(how: str, why: type[Exception]) -> None:
    clock, protocol = connected(Recorder())
    protocol.transport.write(b"never seen")
    for _ in range(2):
        getattr(protocol.transport, how)()
        run(clock)
    (reason,) = protocol.ends
    assert reason.check(why)
