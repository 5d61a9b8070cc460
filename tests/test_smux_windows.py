"""smux windows and queues: what a sender may send, what a receiver keeps, and whom a slow reader stops."""

from __future__ import annotations

import pytest
from smuxpairs import OPTIONS, PSH, SYN, UPD, Pair, ScriptedPeer
from twisted.internet.error import ConnectionLost

from kcpstack.layers.smux_flow import INITIAL_WINDOW, ByteQueue, ReceiveWindow, SendWindow

versions = pytest.mark.parametrize("version", [1, 2])


# ------------------------------------------------------------------ windows


def test_a_sender_keeps_to_the_window_it_was_told() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    data = bytes(range(256)) * 4000
    protocol.transport.write(data)
    sent = peer.payload()
    assert len(sent) == INITIAL_WINDOW
    peer.send((UPD, 3, 100_000, 200_000))
    sent += peer.payload()
    assert len(sent) == 300_000
    peer.send((UPD, 3, 300_000, 1))
    sent += peer.payload()
    assert len(sent) == 300_001
    peer.send((UPD, 3, 300_001, 0), (UPD, 3, 300_001, 0xFFFFFFFF))
    assert sent + peer.payload() == data


def test_an_update_may_come_before_any_data() -> None:
    peer = ScriptedPeer(2, server=True)
    peer.send((SYN, 3), (UPD, 3, 0, 1000))
    peer.factory.accepted[0].transport.write(bytes(5000))
    assert len(peer.payload()) == 1000


def test_a_receiver_tells_its_window_at_the_first_read_and_at_every_half_of_it() -> None:
    peer = ScriptedPeer(2, streamBuffer=400_000)
    protocol = peer.open()
    told = []
    for _ in range(60):
        peer.send((PSH, 3, bytes(10_000)))
        told += peer.frames()
    assert len(protocol.received) == 600_000
    assert told == [(UPD, 3, (10_000, 400_000)), (UPD, 3, (210_000, 400_000)), (UPD, 3, (410_000, 400_000))]


def test_bytes_that_a_paused_protocol_has_not_taken_are_not_consumed() -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    protocol.transport.pauseProducing()
    peer.send((PSH, 3, bytes(1000)))
    assert peer.frames() == []
    protocol.transport.resumeProducing()
    assert peer.frames() == [(UPD, 3, (1000, OPTIONS["streamBuffer"]))]


def test_a_peer_that_ignores_a_window_loses_the_session() -> None:
    peer = ScriptedPeer(2, streamBuffer=100_000)
    protocol = peer.open()
    protocol.transport.pauseProducing()
    for _ in range(5):
        peer.send((PSH, 3, bytes(65_000)))
    assert peer.session.connected
    peer.send((PSH, 3, bytes(65_000)))
    assert not peer.session.connected
    assert peer.counters.MuxErrs == 1
    assert "window" in protocol.lost.getErrorMessage()


@pytest.mark.parametrize("consumed", [1, 1001, 0xFFFFFFFF])
def test_a_peer_that_has_consumed_what_was_never_sent_loses_the_session(consumed: int) -> None:
    peer = ScriptedPeer(2)
    protocol = peer.open()
    protocol.transport.write(bytes(1000 if consumed > 1 else 0))
    peer.frames()
    peer.send((UPD, 3, consumed, 262_144))
    assert peer.counters.MuxErrs == 1
    assert protocol.lost.check(ConnectionLost)


def test_counts_of_bytes_wrap_at_32_bits() -> None:
    sending, receiving = SendWindow(2), ReceiveWindow(2, 1 << 30)
    told = []
    for _ in range(6):
        sending.sent(1 << 30)
        assert receiving.consumed(1 << 30)
        told.append(receiving.report())
        assert sending.updated(*told[-1])
        assert (sending.outstanding, sending.credit) == (0, 1 << 30)
    assert [consumed >> 30 for consumed, _ in told] == [1, 2, 3, 0, 1, 2]


def test_a_queue_gives_its_bytes_in_order_whatever_their_pieces() -> None:
    queue, expected = ByteQueue(), b""
    for size in (1, 3000, 10, 20, 0, 5000, 7, 4096, 1):
        data = bytes([size % 251]) * size
        queue.append(data)
        expected += data
    taken = b""
    while queue.length:
        assert queue.length == len(expected) - len(taken)
        taken += b"".join(queue.take(777))
    assert taken == expected


def test_many_small_pieces_take_little_more_than_their_bytes() -> None:
    queue = ByteQueue()
    for _ in range(10_000):
        queue.append(b"x")
    assert len(queue.take(10_000)) <= 10


# ------------------------------------------------------------------ slow readers


def test_a_slow_stream_does_not_stop_others_on_version_2() -> None:
    pair = Pair(2)
    (slow, slowFar), (fast, fastFar) = pair.open(), pair.open()
    slowFar.transport.pauseProducing()
    slow.transport.write(bytes(5_000_000))
    fast.transport.write(bytes(5_000_000))
    pair.until(lambda: len(fastFar.received) == 5_000_000, patience=300)
    assert slowFar.received == b""
    assert not pair.down.readingPaused
    slowFar.transport.resumeProducing()
    pair.until(lambda: len(slowFar.received) == 5_000_000, patience=300)


def test_unread_bytes_are_bounded_on_version_1_and_flow_again_when_read() -> None:
    pair = Pair(1)
    (slow, slowFar), (fast, fastFar) = pair.open(), pair.open()
    slowFar.transport.pauseProducing()
    slow.transport.write(bytes(5_000_000))
    pair.until(lambda: pair.down.readingPaused)
    fast.transport.write(bytes(1_000_000))
    pair.advance(20)
    assert pair.server._unread <= OPTIONS["sessionBuffer"] + 65_536
    assert len(fastFar.received) < 1_000_000
    slowFar.transport.resumeProducing()
    pair.until(lambda: len(fastFar.received) == 1_000_000 and len(slowFar.received) == 5_000_000, patience=300)


@versions
def test_a_stream_that_is_dropped_unread_lets_the_others_go_on(version: int) -> None:
    pair = Pair(version, sessionBuffer=100_000)
    (slow, slowFar), (fast, fastFar) = pair.open(), pair.open()
    slowFar.transport.pauseProducing()
    slow.transport.write(bytes(200_000))
    pair.until(lambda: pair.down.readingPaused)
    fast.transport.write(b"hello")
    slowFar.transport.abortConnection()
    pair.until(lambda: fastFar.received == b"hello")


def test_a_session_that_delivers_from_within_resuming_changes_no_order() -> None:
    peer = ScriptedPeer(1, sessionBuffer=70_000)
    protocol = peer.open()
    protocol.transport.pauseProducing()
    peer.send((PSH, 3, b"a" * 40_000), (PSH, 3, b"b" * 40_000))
    assert peer.ours.readingPaused
    peer.ours.resumeProducing = lambda: peer.session.dataReceived(bytes.fromhex("0102010003000000") + b"c")
    protocol.transport.resumeProducing()
    peer.clock.pump([0] * 3)
    assert protocol.received == b"a" * 40_000 + b"b" * 40_000 + b"c"
