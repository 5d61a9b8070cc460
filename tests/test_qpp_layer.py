"""QPP on a stream: to its protocol a transport like any other, and to Go peers one of theirs."""

from __future__ import annotations

from typing import Any

import pytest
from qpptraffic import CAPTURED, captured, padsOfVector, written
from smuxpairs import PSH, SYN, Accepting, Pair, ScriptedPeer
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from kcpstack.interfaces import IStreamTransport
from kcpstack.kernels.qpp import Pads
from kcpstack.layers.qpp import PaddedFactory, PaddedStream
from kcpstack.layers.relay import ClientRelayFactory, ServerRelayFactory
from kcpstack.testing.streams import PATTERN, HalfCloseableRecorder, Recorder, StreamTransportConformance

PADS = Pads(b"a key", 61)
versions = pytest.mark.parametrize("version", [1, 2])


class PaddedPair(Pair):
    """Two sessions whose streams are padded, on the server with ``pads``."""

    def __init__(self, version: int, protocol: Any = HalfCloseableRecorder, pads: Pads = PADS) -> None:
        self.answers = Accepting(protocol)
        factory = PaddedFactory(self.answers, pads)
        super().__init__(version, seed=version, protocol=lambda: factory.buildProtocol(None))

    def open(self, protocol: Any = None) -> tuple[Any, Any]:
        near = HalfCloseableRecorder() if protocol is None else protocol
        super().open(PaddedStream(near, PADS))
        return near, self.answers.accepted[-1]


class PaddedStreamOfOurs(StreamTransportConformance):
    version: int
    fromClient = True

    def connect(self, near: Any, far: Any) -> Clock:
        client, server = (near, far) if self.fromClient else (far, near)
        pair = PaddedPair(self.version, lambda: server)
        pair.open(client)
        assert isinstance(near.transport, PaddedStream)
        assert isinstance(far.transport, PaddedStream)
        return pair.clock


class TestPaddedClientStreamVersion1(PaddedStreamOfOurs):
    version = 1


class TestPaddedServerStreamVersion1(PaddedStreamOfOurs):
    version = 1
    fromClient = False


class TestPaddedClientStreamVersion2(PaddedStreamOfOurs):
    version = 2


class TestPaddedServerStreamVersion2(PaddedStreamOfOurs):
    version = 2
    fromClient = False


# ------------------------------------------------------------------ the seams


def test_it_is_a_protocol_below_and_a_stream_above() -> None:
    peer = ScriptedPeer(2)
    padded = PaddedStream(HalfCloseableRecorder(), PADS)
    peer.session.openStream(padded)
    assert verifyObject(IProtocol, padded)
    assert verifyObject(IStreamTransport, padded)
    assert padded.streamID == 3
    assert padded.getPeer() == padded.transport.getPeer()
    assert padded.getHost() == padded.transport.getHost()


def test_it_knows_half_close_where_its_protocol_does() -> None:
    recorder = HalfCloseableRecorder()
    assert IHalfCloseableProtocol(PaddedStream(recorder, PADS)) is recorder
    assert IHalfCloseableProtocol(PaddedStream(Recorder(), PADS), None) is None


def test_it_is_closing_when_its_stream_is() -> None:
    near, _ = PaddedPair(2).open()
    assert not near.transport.disconnecting
    near.transport.loseConnection()
    assert near.transport.disconnecting


def test_the_factory_is_one_and_gives_every_stream_positions_of_its_own() -> None:
    answers = Accepting()
    factory = PaddedFactory(answers, PADS)
    assert verifyObject(IProtocolFactory, factory)
    for _ in range(2):
        factory.buildProtocol(None).dataReceived(PADS.encryptor().crypt(b"hello"))
    assert [protocol.received for protocol in answers.accepted] == [b"hello"] * 2


def test_a_stream_that_the_factory_refuses_is_refused() -> None:
    assert PaddedFactory(Accepting(lambda: None), PADS).buildProtocol(None) is None


def test_the_factory_starts_and_stops_with_the_outer_one() -> None:
    calls = []

    class Noting(Factory):
        def startFactory(self) -> None:
            calls.append("started")

        def stopFactory(self) -> None:
            calls.append("stopped")

    Noting.noisy = False
    factory = PaddedFactory(Noting(), PADS)
    factory.doStart()
    factory.doStop()
    assert calls == ["started", "stopped"]


# ------------------------------------------------------------------ bytes


@versions
def test_frames_carry_what_was_written_through_pads_and_the_position_runs_on(version: int) -> None:
    peer = ScriptedPeer(version)
    near = HalfCloseableRecorder()
    peer.session.openStream(PaddedStream(near, PADS))
    for piece in (b"one", b"", b"two and", b" more"):
        near.transport.write(piece)
    near.transport.writeSequence([b" and", b"", b" more"])
    assert peer.payload() == PADS.encryptor().crypt(b"onetwo and more and more")


@versions
def test_the_directions_of_all_streams_have_positions_of_their_own(version: int) -> None:
    pair = PaddedPair(version)
    streams = [pair.open() for _ in range(3)]
    for number, (near, far) in enumerate(streams):
        near.transport.write(PATTERN[: 1000 * number])
        far.transport.write(PATTERN[5:500])
    for near, _ in streams:
        near.transport.write(PATTERN)
    due = [len(PATTERN), len(PATTERN) + 1000, len(PATTERN) + 2000]
    pair.until(lambda: [len(far.received) for _, far in streams] == due)
    assert [far.received for _, far in streams] == [PATTERN[: 1000 * n] + PATTERN for n in range(3)]
    assert [near.received for near, _ in streams] == [PATTERN[5:500]] * 3


def test_a_write_that_is_refused_disturbs_nothing() -> None:
    pair = PaddedPair(2)
    near, far = pair.open()
    with pytest.raises(TypeError):
        near.transport.write(bytearray(b"not bytes"))
    near.transport.write(b"bytes")
    pair.until(lambda: far.received)
    assert far.received == b"bytes"


@pytest.mark.parametrize("others", [Pads(b"another key", 61), Pads(b"a key", 59)], ids=["key", "count"])
def test_other_pads_at_the_other_end_give_rubbish_of_the_same_length(others: Pads) -> None:
    pair = PaddedPair(2, pads=others)
    near, far = pair.open()
    near.transport.write(PATTERN)
    pair.until(lambda: len(far.received) == len(PATTERN))
    assert far.received != PATTERN


def test_a_protocol_that_raises_ends_its_own_stream_only() -> None:
    class Raising(Recorder):
        def dataReceived(self, data: bytes) -> None:
            raise RuntimeError("on purpose")

    protocols = [Raising(), HalfCloseableRecorder()]
    pair = PaddedPair(2, lambda: protocols.pop(0))
    (unlucky, _), (lucky, far) = pair.open(), pair.open()
    for near in (unlucky, lucky):
        near.transport.write(b"data")
    pair.until(lambda: unlucky.lost and far.received)
    assert far.received == b"data"
    assert lucky.lost is None


# ------------------------------------------------------------------ Go peers, and relays


@pytest.mark.option("QPP", "QPPCount")
@pytest.mark.parametrize("name", sorted({name for name, _ in CAPTURED}))
def test_our_ends_of_a_captured_session_read_and_write_what_go_peers_did(name: str) -> None:
    pads = padsOfVector(name)
    for server, reads, writes in ((True, "up", "down"), (False, "down", "up")):
        peer = ScriptedPeer(2, server=server)
        ours = HalfCloseableRecorder()
        if server:
            peer.factory.buildProtocol = PaddedFactory(Accepting(lambda ours=ours: ours), pads).buildProtocol
            peer.send((SYN, 3))
        else:
            peer.session.openStream(PaddedStream(ours, pads))
        peer.send(*((PSH, 3, payload) for payload in captured(name, reads)))
        assert ours.received == written(reads)
        ours.transport.write(written(writes))
        assert peer.payload() == b"".join(captured(name, writes))


class Target:
    """An endpoint whose connections are streams of ``link``."""

    def __init__(self, link: Pair) -> None:
        self.link = link

    def connect(self, factory: Any) -> Deferred[Any]:
        protocol = factory.buildProtocol(None)
        self.link.client.openStream(protocol)
        return succeed(protocol)


@pytest.mark.option("QPP")
@versions
def test_relays_work_on_padded_streams(version: int) -> None:
    clock = Clock()
    mux, toTarget, fromApplication = (Pair(v, clock=clock) for v in (version, 2, 2))
    mux.factory.buildProtocol = PaddedFactory(ServerRelayFactory(Target(toTarget), clock), PADS).buildProtocol
    relays = ClientRelayFactory(lambda protocol: mux.client.openStream(PaddedStream(protocol, PADS)), clock)
    fromApplication.factory.buildProtocol = relays.buildProtocol
    application = HalfCloseableRecorder()
    fromApplication.client.openStream(application)
    mux.until(lambda: toTarget.accepted)
    target = toTarget.accepted[0]
    application.transport.write(PATTERN)
    application.transport.loseWriteConnection()
    mux.until(lambda: target.ended)
    assert target.received == PATTERN
    assert application.lost is None
    target.transport.write(PATTERN[::-1])
    target.transport.loseConnection()
    mux.until(lambda: application.lost and target.lost)
    assert application.received == PATTERN[::-1]
