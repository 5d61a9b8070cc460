"""The six layers pass the conformance suites that kcpstack ships, and keep what they promise beyond these."""

from __future__ import annotations

import random
import socket
import zlib
from collections.abc import Iterator

import pytest
from kcpstack_example.aead import NUMBERS, ChaChaFactory
from kcpstack_example.aimd import HalvingFactory
from kcpstack_example.deflate import DeflateFactory
from kcpstack_example.echo import EchoTarget
from kcpstack_example.erasure import ReedSoloFactory
from kcpstack_example.hopping import PATIENCE, RETRY, STRANGERS_MAX, TURN, HopFactory
from twisted.internet.error import ConnectionAborted, ConnectionDone, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.testing.ciphers import CipherConformance, openOne, sealOne
from kcpstack.testing.compressors import CompressorConformance
from kcpstack.testing.congestion import CongestionConformance
from kcpstack.testing.datagrams import DatagramRecorder, DatagramTransportConformance, SocketClock, freePorts
from kcpstack.testing.erasure import ErasureCodeConformance, sampleShards
from kcpstack.testing.targets import RelayTargetConformance
from kcpstack.transports import TransportContext


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


# ------------------------------------------------------------------ the transport


LOCAL = "127.0.0.1"


class Ends:
    """A server on a range of ports and a client that calls it, on real sockets and virtual time."""

    def __init__(self, ports: range, called: range | None = None) -> None:
        self.clock = SocketClock()
        self.counters = Counters()
        self.context = TransportContext(self.clock, self.counters, random.Random("hop").randbytes)
        self.server = HopFactory().listen(self.context, LOCAL, ports)
        self.atServer, self.atClient = DatagramRecorder(), DatagramRecorder()
        self.server.startListening(self.atServer)
        called = called or ports
        self.client = HopFactory().dial(self.context, LOCAL, called[0], called)
        self.client.startListening(self.atClient)

    def close(self) -> None:
        self.client.stopListening()
        self.server.stopListening()

    def call(self, datagram: bytes = b"call") -> int:
        """Send from the client; return the port of the server's that it was sent to, found by the client's books."""
        self.client.send(outbound(datagram), None)
        self.clock.turn(0.0)
        port: int = self.client._port
        return port

    def answer(self, datagram: bytes = b"answer") -> None:
        """Send from the server to who called last."""
        self.server.send(outbound(datagram), self.atServer.arrived[-1][1])
        self.clock.turn(0.0)


def outbound(datagram: bytes) -> Batch:
    batch = outboundBatch(200, 0)
    batch.append(datagram)
    return batch


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends(freePorts(5))
    yield made
    made.close()


def test_a_turn_stays_on_one_port_and_the_next_is_on_another(ends: Ends) -> None:
    used = []
    for _ in range(40):
        used.append(ends.call())
        assert ends.call() == used[-1]
        ends.answer()
        ends.clock.advance(TURN)
    assert set(used) == set(range(min(used), min(used) + 5))
    assert all(one != next_ for one, next_ in zip(used, used[1:]))


def test_a_peer_that_hops_has_one_address_at_either_end(ends: Ends) -> None:
    for _ in range(20):
        ends.call()
        ends.answer()
        ends.clock.advance(TURN)
    assert len({address for _, address in ends.atServer.arrived}) == 1
    assert len({address for _, address in ends.atClient.arrived}) == 1
    assert len(ends.atClient.arrived) == 20


def test_answers_leave_from_the_port_that_was_called_last(ends: Ends) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        peer.settimeout(5)
        first = ends.server.getHost().port
        for port in (first, first + 3, first + 1):
            peer.sendto(b"call", (LOCAL, port))
            ends.clock.turn(0.0)
            ends.answer()
            assert peer.recvfrom(100)[1] == (LOCAL, port)


def test_a_port_that_does_not_answer_is_left_out_for_a_while() -> None:
    ports = freePorts(4)
    ends = Ends(ports[:2], called=ports)
    try:
        used = []
        for _ in range(100):
            before = len(ends.atServer.arrived)
            used.append(ends.call())
            if len(ends.atServer.arrived) > before:
                ends.answer()
            ends.clock.advance(TURN)
        assert sorted(used.count(port) for port in ports)[:2] == [1, 1]
        ends.clock.advance(RETRY)
        for _ in range(100):
            used.append(ends.call())
            if used[-1] in ports[:2]:
                ends.answer()
            ends.clock.advance(TURN)
        assert sorted(used.count(port) for port in ports)[:2] == [2, 2]
    finally:
        ends.close()


def test_where_no_port_answers_all_are_tried_in_turn(ends: Ends) -> None:
    used = []
    for _ in range(20):
        used.append(ends.call())
        ends.clock.advance(TURN)
    assert [used.count(port) for port in set(used)] == [4] * 5
    assert used[5:10] == used[:5]


def test_datagrams_of_strangers_are_dropped_and_counted(ends: Ends) -> None:
    ends.call()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"forged", (LOCAL, ends.client.getHost().port))
        ends.answer(b"genuine")
        ends.clock.turn(0.0)
    assert ends.atClient.datagrams == [b"genuine"]
    assert ends.counters.InErrs == 1


def test_where_the_peer_is_silent_answers_leave_from_all_ports_that_it_has_called(ends: Ends) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        peer.settimeout(5)
        first = ends.server.getHost().port
        for port in (first, first + 2, first + 4):
            peer.sendto(b"call", (LOCAL, port))
            ends.clock.turn(0.0)
        used = []
        ends.clock.advance(PATIENCE + TURN / 2)
        for _ in range(6):
            ends.answer()
            used.append(peer.recvfrom(100)[1][1] - first)
            ends.clock.advance(TURN)
        assert used == [2, 0, 4, 2, 0, 4]
        peer.sendto(b"call", (LOCAL, first))
        ends.clock.turn(0.0)
        ends.answer()
        assert peer.recvfrom(100)[1][1] == first


class Doubter(DatagramRecorder):
    """Takes out what is forged, as a cipher does."""

    def datagramsReceived(self, batch: Batch) -> None:
        kept = [i for i, datagram in enumerate(batch) if bytes(datagram) != b"forged"]
        self.arrived += [(bytes(list(batch)[i]), (batch.addresses or [])[i]) for i in kept]
        batch.addresses = [(batch.addresses or [])[i] for i in kept]
        batch.starts, batch.ends = [batch.starts[i] for i in kept], [batch.ends[i] for i in kept]


def test_what_is_forged_moves_no_answer_and_is_not_heard(ends: Ends) -> None:
    ends.server._receiver = ends.atServer = Doubter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((LOCAL, 0))
        peer.settimeout(5)
        first = ends.server.getHost().port

        def answeredAfter(*calls: tuple[bytes, int]) -> int:
            for datagram, port in calls:
                peer.sendto(datagram, (LOCAL, first + port))
                ends.clock.turn(0.0)
            ends.answer()
            return int(peer.recvfrom(100)[1][1]) - first

        assert answeredAfter((b"call", 1)) == 1
        assert answeredAfter((b"forged", 3)) == 1
        assert answeredAfter((b"forged", 1), (b"call", 2), (b"forged", 4)) == 2
        ends.clock.advance(PATIENCE + TURN / 2)
        assert answeredAfter((b"forged", 2), (b"forged", 3)) == 1
        assert answeredAfter((b"call", 2)) == 2


def test_what_is_forged_makes_no_port_of_the_servers_well(ends: Ends) -> None:
    ends.client._receiver = ends.atClient = Doubter()
    ends.call()
    for datagram, silent in ((b"forged", 1), (b"genuine", 0)):
        ends.answer(datagram)
        ends.clock.turn(0.0)
        assert len(ends.client._unanswered) == silent


def test_a_flood_of_strangers_makes_the_server_forget_no_peer(ends: Ends) -> None:
    ends.call()
    ends.answer()
    address = ends.atServer.arrived[-1][1]
    called = ends.server.getHost().port
    flood = inboundBatch([b"x"] * 3000, [(f"192.0.2.{n % 250}", n, called) for n in range(3000)])
    ends.server.datagramsReceived(flood)
    assert len(ends.server._strangers) == STRANGERS_MAX
    assert list(ends.server._peers) == [address]


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
def test_who_waits_for_a_protocol_that_is_never_made_hears_why(factory: type[Factory], why: type[Exception]) -> None:
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


@pytest.mark.parametrize(("how", "why"), [("loseConnection", ConnectionDone), ("abortConnection", ConnectionAborted)])
def test_a_close_is_told_once(how: str, why: type[Exception]) -> None:
    clock, protocol = connected(Recorder())
    protocol.transport.write(b"never seen")
    for _ in range(2):
        getattr(protocol.transport, how)()
        run(clock)
    (reason,) = protocol.ends
    assert reason.check(why)
