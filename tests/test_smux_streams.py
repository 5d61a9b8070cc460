"""smux streams as transports: the promises of the seam, and how they end towards every kind of peer."""

from __future__ import annotations

from typing import Any

import pytest
from smuxpairs import ANNOUNCEMENT, FIN, NOP, PSH, SYN, UPD, Pair, ScriptedPeer
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.protocols.basic import LineOnlyReceiver

from kcpstack.layers.smux_stream import FIN_LAG, PEER_FIN_GRACE
from kcpstack.testing.streams import Producer, Recorder, StreamTransportConformance

versions = pytest.mark.parametrize("version", [1, 2])


class StreamOfOurs(StreamTransportConformance):
    version: int
    fromClient = True

    def connect(self, near: Any, far: Any) -> Clock:
        client, server = (near, far) if self.fromClient else (far, near)
        pair = Pair(self.version, seed=self.version, protocol=lambda: server)
        pair.open(client)
        return pair.clock


class TestClientStreamVersion1(StreamOfOurs):
    version = 1


class TestServerStreamVersion1(StreamOfOurs):
    version = 1
    fromClient = False


class TestClientStreamVersion2(StreamOfOurs):
    version = 2


class TestServerStreamVersion2(StreamOfOurs):
    version = 2
    fromClient = False


# ------------------------------------------------------------------ between our own kind


@versions
def test_a_reader_that_closes_ends_the_far_writer_and_its_data_is_dropped(version: int) -> None:
    pair = Pair(version)
    near, far = pair.open()
    far.transport.pauseProducing()
    near.transport.write(bytes(5_000_000))
    pair.advance(1)
    far.transport.loseConnection()
    pair.until(lambda: near.lost)
    assert near.lost.check(ConnectionLost)
    assert pair.client.streamCount == pair.server.streamCount == 0


@versions
def test_a_stream_leaves_no_trace(version: int) -> None:
    pair = Pair(version)
    for ending in ("loseConnection", "abortConnection"):
        for closes in (0, 1):
            ends = pair.open()
            ends[0].transport.write(bytes(100_000))
            getattr(ends[closes].transport, ending)()
            pair.until(lambda ends=ends: ends[0].lost and ends[1].lost)
    assert pair.client.streamCount == pair.server.streamCount == 0
    pair.advance(0.1)
    assert len(pair.clock.getDelayedCalls()) == 2, "one keepalive timer for each session"


def test_what_an_aborted_stream_had_queued_is_never_sent() -> None:
    peer = ScriptedPeer(1)
    protocol = peer.open()
    protocol.transport.write(b"never mind")
    protocol.transport.abortConnection()
    assert peer.frames() == [(NOP, 3, b""), (FIN, 3, b"")]
    assert protocol.lost.check(ConnectionAborted)


@versions
def test_an_announced_peer_that_ends_its_direction_may_listen_for_ever(version: int) -> None:
    peer = ScriptedPeer(version)
    protocol = peer.open()
    peer.send(ANNOUNCEMENT, (FIN, 3))
    assert protocol.ended
    for _ in range(20):
        peer.clock.advance(10)
        peer.send((NOP, 0))
    protocol.transport.write(b"still here")
    assert peer.payload() == b"still here"
    protocol.transport.loseConnection()
    assert peer.frames() == [(FIN, 3, b"")]
    assert protocol.lost.check(ConnectionDone)


def test_the_mark_after_a_fin_closes_and_says_whether_anything_was_dropped() -> None:
    peer = ScriptedPeer(2)
    idle, busy = peer.open(), peer.open()
    busy.transport.write(bytes(300_000))
    assert len(peer.payload()) == 262_144
    peer.send(ANNOUNCEMENT, (FIN, 3), (NOP, 3), (FIN, 5), (NOP, 5))
    assert peer.frames() == []
    assert idle.ended
    assert idle.lost.check(ConnectionDone)
    assert busy.ended
    assert busy.lost.check(ConnectionLost)


def test_the_mark_before_a_fin_aborts_even_a_paused_stream() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    protocol.transport.pauseProducing()
    peer.send(ANNOUNCEMENT, (PSH, 3, b"unread"), (NOP, 3), (FIN, 3))
    assert protocol.lost.check(ConnectionLost)
    assert (protocol.received, protocol.ended) == (b"", False)
    assert peer.counters.UnknownStreams == peer.counters.MuxErrs == 0


def test_a_close_after_a_half_close_sends_only_the_mark() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    peer.send(ANNOUNCEMENT)
    protocol.transport.loseWriteConnection()
    assert peer.frames() == [(FIN, 3, b"")]
    protocol.transport.loseConnection()
    assert peer.frames() == [(NOP, 3, b"")]
    assert protocol.lost.check(ConnectionDone)


# ------------------------------------------------------------------ towards Go peers


def test_a_server_sends_no_mark_to_a_peer_that_did_not_announce_itself() -> None:
    peer = ScriptedPeer(2, server=True)
    closed, aborted = peer.open(3), peer.open(5)
    closed.transport.loseConnection()
    assert peer.frames() == [(FIN, 3, b"")]
    aborted.transport.abortConnection()
    assert peer.frames() == [(FIN, 5, b"")]


@versions
def test_all_that_a_go_peer_sent_before_its_fin_is_handed_over_even_late(version: int) -> None:
    peer = ScriptedPeer(version)
    protocol = peer.open()
    protocol.transport.pauseProducing()
    peer.send((PSH, 3, b"a" * 60_000), (PSH, 3, b"b"), (FIN, 3))
    peer.clock.advance(29)
    peer.send((NOP, 0))
    peer.clock.advance(29)
    protocol.transport.resumeProducing()
    peer.clock.pump([0] * 3)
    assert protocol.received == b"a" * 60_000 + b"b"
    assert protocol.ended
    assert protocol.lost is None


@versions
def test_a_go_peer_that_has_sent_fin_is_closed_after_a_grace(version: int) -> None:
    peer = ScriptedPeer(version)
    protocol = peer.open()
    peer.send((FIN, 3))
    peer.clock.advance(PEER_FIN_GRACE - 0.1)
    protocol.transport.write(b"within the grace")
    assert peer.payload() == b"within the grace"
    assert protocol.lost is None
    peer.clock.advance(0.2)
    assert (FIN, 3, b"") in peer.frames()
    assert protocol.lost.check(ConnectionDone)


def test_updates_of_a_go_peer_prove_that_it_reads_and_renew_the_grace() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    peer.send((FIN, 3))
    protocol.transport.write(bytes(1000))
    for consumed in (100, 200, 300):
        peer.clock.advance(PEER_FIN_GRACE - 0.1)
        peer.send((UPD, 3, consumed, 262_144))
        peer.send((NOP, 0))
    assert protocol.lost is None
    peer.clock.advance(PEER_FIN_GRACE + 0.1)
    peer.clock.advance(0)
    assert protocol.lost.check(ConnectionDone)


def test_what_a_go_peer_does_not_take_within_the_grace_is_told() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    protocol.transport.write(bytes(300_000))
    peer.send((FIN, 3))
    protocol.transport.loseConnection()
    peer.clock.advance(PEER_FIN_GRACE + 0.1)
    assert [frame for frame in peer.frames() if frame[0] != NOP][-1] == (FIN, 3, b"")
    assert protocol.lost.check(ConnectionLost)
    assert peer.session.streamCount == 0


@pytest.mark.parametrize("ending", ["loseConnection", "loseWriteConnection"])
@versions
def test_our_fin_lags_behind_our_data_where_a_go_peer_has_ended_first(version: int, ending: str) -> None:
    peer = ScriptedPeer(version)
    protocol = peer.open()
    peer.send((FIN, 3))
    protocol.transport.write(b"read this first")
    getattr(protocol.transport, ending)()
    assert peer.frames() == [(PSH, 3, b"read this first")]
    peer.clock.advance(FIN_LAG - 0.1)
    assert peer.frames() == []
    peer.clock.advance(0.2)
    assert peer.frames() == [(FIN, 3, b"")]
    assert protocol.lost.check(ConnectionDone)


def test_our_fin_does_not_lag_where_a_go_peer_has_read_everything() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    protocol.transport.write(b"12345")
    peer.send((FIN, 3))
    protocol.transport.loseConnection()
    peer.frames()
    peer.send((UPD, 3, 5, 262_144))
    assert peer.frames() == [(FIN, 3, b"")]
    assert protocol.lost.check(ConnectionDone)


def test_a_stream_without_data_from_us_ends_at_once() -> None:
    peer = ScriptedPeer(1, server=True)
    protocol = peer.open(3)
    peer.send((PSH, 3, b"all"), (FIN, 3))
    protocol.transport.loseConnection()
    assert peer.frames() == [(FIN, 3, b"")]
    assert protocol.received == b"all"
    assert protocol.lost.check(ConnectionDone)
    assert len(peer.clock.getDelayedCalls()) == 1, "the session's keepalive, and no grace"


def test_a_nop_for_a_stream_means_nothing_from_a_peer_that_did_not_announce_itself() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    peer.send((NOP, 3), (FIN, 3), (NOP, 3))
    protocol.transport.write(b"still open")
    assert peer.payload() == b"still open"
    assert protocol.lost is None


# ------------------------------------------------------------------ protocols


def test_what_arrives_between_resuming_and_reading_stays_in_order() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    protocol.transport.pauseProducing()
    peer.send((PSH, 3, b"first, "))
    protocol.transport.resumeProducing()
    peer.session.dataReceived(bytes.fromhex("0202060003000000") + b"second" + bytes.fromhex("0201000003000000"))
    peer.clock.advance(0)
    assert protocol.received == b"first, second"
    assert protocol.ended


def test_a_protocol_that_knows_no_half_close_has_its_producer_stopped_at_the_peer_s_end() -> None:
    pair = Pair(2, protocol=Recorder)
    near, far = pair.open()
    producer = Producer()
    far.transport.registerProducer(producer, True)
    near.transport.loseWriteConnection()
    pair.until(lambda: far.lost)
    assert producer.stopped == 1


def test_a_protocol_of_twisted_s_own_stops_at_its_close() -> None:
    pair = Pair(2, protocol=EchoFirstLine)
    near, _ = pair.open()
    near.transport.write(b"one\r\ntwo\r\nthree\r\n")
    pair.until(lambda: near.lost)
    assert near.received == b"one\r\n"


class EchoFirstLine(LineOnlyReceiver):
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)
        self.transport.loseConnection()


@pytest.mark.parametrize("method", ["connectionMade", "dataReceived", "readConnectionLost", "connectionLost"])
def test_a_protocol_that_raises_loses_its_stream_and_no_other(method: str) -> None:
    pair = Pair(2)
    near, far = pair.open()
    bad = type(near)()

    def fail(*arguments: Any) -> None:
        raise RuntimeError("on purpose")

    setattr(bad, method, fail)
    _, badFar = pair.open(bad)
    badFar.transport.write(b"hello")
    badFar.transport.loseConnection()
    pair.until(lambda: badFar.lost)
    pair.advance(1)
    assert pair.client.streamCount == 1
    near.transport.write(b"unharmed")
    pair.until(lambda: far.received == b"unharmed")
    assert near.lost is None


def test_a_stream_can_be_aborted_in_the_middle_of_a_delivery() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    protocol.dataReceived = lambda data: protocol.transport.abortConnection()
    peer.send((PSH, 3, b"stop"), (FIN, 3), (SYN, 4))
    assert protocol.lost.check(ConnectionAborted)
    assert peer.session.streamCount == 0
