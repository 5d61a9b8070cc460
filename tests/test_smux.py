"""smux sessions: who may say what, fairness, keepalive, and how little a bad peer can do."""

from __future__ import annotations

from typing import Any

import pytest
from smuxpairs import ANNOUNCEMENT, FIN, NOP, OPTIONS, PSH, SYN, UPD, Pair, ScriptedPeer
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from zope.interface.verify import verifyObject

from kcpstack.layers import smux
from kcpstack.layers.smux import ANNOUNCE_ID, KEEPALIVE_TIMEOUT
from kcpstack.layers.smux_sending import WRITE_SIZE, FrameSender
from kcpstack.schedule import Schedule
from kcpstack.testing.streams import HalfCloseableRecorder, Recorder

versions = pytest.mark.parametrize("version", [1, 2])
FRAME = OPTIONS["frameSize"]


def test_a_session_is_a_protocol_and_its_sender_a_producer() -> None:
    peer = ScriptedPeer(2)
    assert verifyObject(IProtocol, peer.session)
    assert verifyObject(IPushProducer, FrameSender(Schedule(peer.clock)))


# ------------------------------------------------------------------ opening


@versions
def test_a_client_numbers_its_streams_from_3_by_twos(version: int) -> None:
    peer = ScriptedPeer(version)
    assert [peer.open().transport.streamID for _ in range(3)] == [3, 5, 7]


def test_a_stream_is_opened_before_its_data_is_sent() -> None:
    peer = ScriptedPeer(1)
    protocol = Recorder()
    protocol.connectionMade = lambda: protocol.transport.write(b"hello")
    peer.session.openStream(protocol)
    assert peer.frames() == [(SYN, 3, b""), (PSH, 3, b"hello")]


@versions
def test_a_server_speaks_the_version_of_the_first_frame(version: int) -> None:
    peer = ScriptedPeer(version, server=True)
    assert peer.session.version is None
    peer.open(3).transport.write(b"answer")
    assert peer.session.version == version
    assert peer.payload() == b"answer"


def test_a_client_announces_itself_and_a_server_only_answers() -> None:
    pair = Pair(2)
    pair.until(lambda: pair.client.peerAnnounced and pair.server.peerAnnounced)
    unasked = ScriptedPeer(2, server=True)
    unasked.open(3)
    assert unasked.ours.written == 0
    asked = ScriptedPeer(2, server=True)
    asked.send(ANNOUNCEMENT, ANNOUNCEMENT)
    asked.frames()
    assert asked.ours.written == 8
    client = ScriptedPeer(2)
    client.send(ANNOUNCEMENT)
    client.frames()
    assert client.ours.written == 8


def test_the_announcement_cannot_be_mistaken_for_a_stream() -> None:
    assert ANNOUNCE_ID % 2 == 0
    peer = ScriptedPeer(2, server=True)
    peer.send((SYN, ANNOUNCE_ID))
    assert peer.frames() == [(FIN, ANNOUNCE_ID, b"")]
    assert peer.session.streamCount == 0


def test_a_second_open_of_the_same_stream_is_ignored() -> None:
    peer = ScriptedPeer(2, server=True)
    protocol = peer.open(3)
    peer.send((PSH, 3, b"one "), (SYN, 3), (PSH, 3, b"two"))
    assert len(peer.factory.accepted) == 1
    assert protocol.received == b"one two"


def test_a_server_that_opens_a_stream_is_refused() -> None:
    peer = ScriptedPeer(2)
    peer.send((SYN, 2), (PSH, 2, b"anybody?"))
    assert peer.frames() == [(FIN, 2, b"")]
    assert peer.counters.UnknownStreams == 1
    assert peer.counters.MuxErrs == 1


@pytest.mark.parametrize("announced", [True, False])
def test_a_stream_that_the_factory_will_not_have_is_aborted(announced: bool) -> None:
    peer = ScriptedPeer(2, server=True)
    peer.factory.protocol = lambda: None
    peer.send(*[ANNOUNCEMENT] * announced, (SYN, 3))
    assert peer.frames() == [(NOP, 3, b"")] * announced + [(FIN, 3, b"")]


def test_a_factory_that_raises_refuses_one_stream_and_no_more() -> None:
    peer = ScriptedPeer(2, server=True)
    good = peer.factory.protocol
    peer.factory.protocol = lambda: 1 / 0
    peer.send((SYN, 3))
    peer.factory.protocol = good
    protocol = peer.open(5)
    peer.send((PSH, 5, b"fine"))
    assert protocol.received == b"fine"


def test_a_session_has_room_for_so_many_streams_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smux, "MAX_STREAMS", 2)
    peer = ScriptedPeer(2, server=True)
    peer.send((SYN, 3), (SYN, 5), (SYN, 7))
    assert peer.frames() == [(FIN, 7, b"")]
    assert peer.session.streamCount == 2


def test_no_stream_can_be_opened_before_the_session_or_after_it() -> None:
    peer = ScriptedPeer(2)
    peer.session.abortConnection()
    assert not peer.session.connected
    with pytest.raises(ConnectionLost):
        peer.session.openStream(Recorder())


# ------------------------------------------------------------------ order and fairness


def queued(peer: ScriptedPeer, *amounts: int) -> list[Any]:
    """Streams with so many bytes queued while the session takes nothing."""
    protocols = [peer.open() for _ in amounts]
    peer.session._sender.pauseProducing()
    for protocol, amount in zip(protocols, amounts):
        protocol.transport.write(bytes(amount))
    return protocols


def test_streams_take_turns_frame_by_frame() -> None:
    peer = ScriptedPeer(1)
    queued(peer, 3 * FRAME, FRAME + 1, 2 * FRAME)
    peer.session._sender.resumeProducing()
    frames = [(streamID, len(data)) for command, streamID, data in peer.frames() if command == PSH]
    assert frames == [(3, FRAME), (5, FRAME), (7, FRAME), (3, FRAME), (5, 1), (7, FRAME), (3, FRAME)]


def test_short_frames_overtake_data_and_fin_does_not() -> None:
    peer = ScriptedPeer(2)
    first, second = queued(peer, 10, 10)
    peer.send((PSH, 5, b"first bytes"))
    first.transport.loseWriteConnection()
    second.transport.abortConnection()
    peer.session.openStream(HalfCloseableRecorder())
    peer.session._sender.resumeProducing()
    assert peer.frames() == [
        (NOP, 5, b""), (FIN, 5, b""), (SYN, 7, b""), (PSH, 3, bytes(10)), (FIN, 3, b""),
    ]  # fmt: skip


def test_what_is_written_in_one_turn_shares_frames_and_one_write_to_the_session() -> None:
    peer = ScriptedPeer(2)
    protocols = [peer.open() for _ in range(3)]
    writes: list[bytes] = []
    write = peer.ours.write
    peer.ours.write = lambda data: (writes.append(data), write(data))[1]
    for _ in range(100):
        for protocol in protocols:
            protocol.transport.write(b"few bytes ")
    peer.clock.advance(0)
    assert len(writes) == 1
    assert [(streamID, len(data)) for _, streamID, data in peer.frames()] == [(3, 1000), (5, 1000), (7, 1000)]


def test_a_session_that_takes_no_more_is_given_at_most_one_write_more() -> None:
    peer = ScriptedPeer(1)
    protocol = peer.open()
    before = peer.ours.written
    peer.theirs.pauseProducing()
    protocol.transport.write(bytes(10_000_000))
    peer.clock.pump([0] * 10)
    assert peer.ours.written - before <= 2 * 65_536 + WRITE_SIZE + FRAME + 8  # two buffers and one write


# ------------------------------------------------------------------ keepalive


@versions
def test_a_nop_leaves_every_keepalive_seconds(version: int) -> None:
    peer = ScriptedPeer(version, keepalive=7.0)
    for _ in range(10):
        peer.clock.advance(7)
        assert peer.frames() == [(NOP, 0, b"")]
        peer.send((NOP, 0))


@pytest.mark.parametrize("server", [False, True])
def test_a_silent_peer_ends_the_session_and_every_stream_says_why(server: bool) -> None:
    peer = ScriptedPeer(2, server=server)
    protocols = [peer.open(3), peer.open(5)]
    peer.clock.advance(KEEPALIVE_TIMEOUT - 0.1)
    peer.clock.pump([0.01] * 5)
    assert peer.session.connected
    peer.clock.pump([0.01] * 20)
    assert not peer.session.connected
    assert not peer.ours.connected
    for protocol in protocols:
        assert protocol.lost.check(ConnectionLost)
        assert "nothing heard for 30 s" in protocol.lost.getErrorMessage()
    assert peer.clock.getDelayedCalls() == []


def test_a_session_that_never_hears_anything_ends_too() -> None:
    peer = ScriptedPeer(2, server=True)
    peer.clock.pump([1.0] * 31)
    assert peer.ours.written == 0
    assert not peer.ours.connected


def test_silence_that_we_asked_for_ends_nothing() -> None:
    peer = ScriptedPeer(1, sessionBuffer=70_000)
    protocol = peer.open()
    protocol.transport.pauseProducing()
    peer.send((PSH, 3, bytes(40_000)), (PSH, 3, bytes(40_000)))
    assert peer.ours.readingPaused
    peer.clock.pump([1.0] * 100)
    assert peer.session.connected
    protocol.transport.resumeProducing()
    peer.clock.pump([1.0] * 29)
    assert peer.session.connected
    peer.clock.pump([1.0] * 3)
    assert not peer.session.connected


@versions
def test_two_idle_ends_keep_each_other_alive(version: int) -> None:
    pair = Pair(version)
    pair.advance(200)
    assert pair.client.connected
    assert pair.server.connected


# ------------------------------------------------------------------ bad peers


@pytest.mark.parametrize(
    "nonsense", ["0200010003000000", "0205000003000000", "0100000003000000", "0204070003000000", "47455420"],
)  # fmt: skip
@pytest.mark.parametrize("server", [False, True])
def test_a_peer_that_breaks_the_protocol_loses_the_session(server: bool, nonsense: str) -> None:
    peer = ScriptedPeer(2, server=server)
    protocol = peer.open()
    peer.send((PSH, 3, b"good until here"))
    peer.sendBytes(bytes.fromhex(nonsense) * 2)
    assert peer.counters.MuxErrs == 1
    assert not peer.ours.connected
    assert protocol.received == b"good until here"
    assert protocol.lost.check(ConnectionLost)
    assert peer.clock.getDelayedCalls() == [] or peer.theirs.connected


def test_data_for_a_stream_that_is_not_there_is_dropped_and_counted() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    peer.send((PSH, 9, b"lost"), (FIN, 9), (UPD, 9, 5, 5), (NOP, 9), (PSH, 3, b"found"))
    assert protocol.received == b"found"
    assert peer.counters.UnknownStreams == 1
    assert peer.counters.MuxErrs == 0


def test_data_after_a_fin_is_dropped_and_counted() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    peer.send((PSH, 3, b"all"), (FIN, 3))
    peer.send((PSH, 3, b" and more"))
    assert protocol.received == b"all"
    assert peer.counters.UnknownStreams == 1


def test_a_peer_that_asks_for_answers_and_takes_none_loses_the_session() -> None:
    peer = ScriptedPeer(2, server=True)
    peer.factory.protocol = lambda: None
    peer.theirs.pauseProducing()
    refused = b"".join(bytes((2, 0, 0, 0)) + number.to_bytes(4, "little") for number in range(3, 20_003, 2))
    for _ in range(20):
        peer.sendBytes(refused)
    assert not peer.session.connected
    assert peer.counters.MuxErrs == 1


# ------------------------------------------------------------------ the end of a session


@versions
def test_a_session_that_is_lost_takes_its_streams_along(version: int) -> None:
    pair = Pair(version)
    near, far = pair.open()
    pair.up.drop(ConnectionLost("unplugged"))
    assert near.lost.getErrorMessage().endswith("unplugged.")
    assert far.lost is None
    assert pair.client.streamCount == 0


def test_a_session_that_ends_cleanly_does_not_end_its_streams_cleanly() -> None:
    pair = Pair(2)
    near, _ = pair.open()
    pair.up.drop(ConnectionDone())
    assert near.lost.check(ConnectionLost)


def test_an_aborted_session_ends_at_once() -> None:
    pair = Pair(2)
    near, _ = pair.open()
    near.transport.abortConnection()
    other, _ = pair.open()
    pair.client.abortConnection()
    assert near.lost.check(ConnectionAborted)
    assert other.lost.check(ConnectionLost)
    assert not pair.up.connected


@versions
def test_a_session_that_is_closed_first_delivers_what_its_streams_wrote(version: int) -> None:
    pair = Pair(version)
    ends = [pair.open() for _ in range(5)]
    for near, _ in ends:
        near.transport.write(bytes(400_000))
    pair.client.loseConnection()
    assert not pair.client.connected
    pair.until(lambda: not pair.up.connected, patience=100)
    pair.until(lambda: all(far.lost for _, far in ends))
    assert {len(far.received) for _, far in ends} == {400_000}
    assert all(end.lost.check(ConnectionDone) for pairOfEnds in ends for end in pairOfEnds)


def test_a_closed_session_without_streams_ends_at_once() -> None:
    pair = Pair(1)
    pair.client.loseConnection()
    pair.until(lambda: not pair.up.connected, patience=1)


def test_nothing_is_left_on_the_clock_when_both_ends_are_over() -> None:
    pair = Pair(2)
    near, far = pair.open()
    near.transport.write(bytes(100_000))
    far.transport.pauseProducing()
    pair.advance(0.05)
    pair.client.abortConnection()
    pair.server.abortConnection()
    pair.clock.advance(0)
    assert pair.clock.getDelayedCalls() == []
