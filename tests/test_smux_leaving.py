"""How a smux session ends in agreement, and what it knows of what is not acknowledged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smuxpairs import ANNOUNCEMENT, FIN, NOP, SYN, Pair, ScriptedPeer
from twisted.internet.error import ConnectionAborted, ConnectionLost

from kcpstack.errors import PeerAborted, PeerClosedDown
from kcpstack.layers.smux import LEAVE_ID, LEAVE_PATIENCE
from kcpstack.layers.smux_frames import HEADER_SIZE
from kcpstack.layers.smux_ledger import Ledger
from kcpstack.testing.streams import HalfCloseableRecorder

LEAVE = (NOP, LEAVE_ID, b"")
versions = pytest.mark.parametrize("version", [1, 2])


def announced(version: int = 2, server: bool = False) -> ScriptedPeer:
    peer = ScriptedPeer(version, server=server)
    peer.send(ANNOUNCEMENT)
    peer.frames()
    return peer


# ------------------------------------------------------------------ on the wire


@versions
def test_a_client_that_retires_says_so_and_opens_nothing_more(version: int) -> None:
    peer = ScriptedPeer(version)
    peer.open()
    peer.session.retire()
    assert peer.frames() == [LEAVE]
    with pytest.raises(ConnectionLost):
        peer.session.openStream(HalfCloseableRecorder())


@versions
def test_a_server_says_nothing_to_a_peer_that_never_announced_itself(version: int) -> None:
    peer = ScriptedPeer(version, server=True)
    peer.open()
    peer.session.retire()
    assert peer.frames() == []
    peer.send((NOP, LEAVE_ID))
    assert peer.frames() == []
    assert peer.ours.connected


def test_the_mark_is_even_as_no_stream_of_kcptuns_is() -> None:
    assert LEAVE_ID % 2 == 0 and LEAVE_ID.to_bytes(4, "little") == b"xpck"


@pytest.mark.parametrize("server", [False, True])
def test_a_peer_that_leaves_is_answered_once_and_whoever_asked_is_told(server: bool) -> None:
    peer = announced(server=server)
    heard: list[bool] = []
    peer.session.watch(lambda: heard.append(peer.session.connected))
    peer.send((NOP, LEAVE_ID), (NOP, LEAVE_ID))
    assert peer.frames() == [LEAVE]
    assert heard == [False]


def test_a_stream_that_is_opened_at_a_leaving_server_is_refused_as_an_abort() -> None:
    peer = announced(server=True)
    peer.open()
    peer.session.retire()
    peer.send((SYN, 5))
    assert peer.frames() == [LEAVE, (NOP, 5, b""), (FIN, 5, b"")]


@versions
def test_a_cut_says_twice_that_it_leaves_and_aborts_every_stream(version: int) -> None:
    peer = announced(version)
    protocols = [peer.open(), peer.open()]
    peer.session.cut()
    frames = peer.frames()
    assert frames == [LEAVE, LEAVE, (NOP, 3, b""), (FIN, 3, b""), (NOP, 5, b""), (FIN, 5, b"")]
    assert all(protocol.lost.check(ConnectionAborted) for protocol in protocols)
    peer.clock.advance(1)
    assert not peer.ours.connected


def test_streams_that_the_peer_cuts_all_at_once_hear_that_it_closes_down() -> None:
    pair = Pair(2)
    ends = [pair.open() for _ in range(3)]
    pair.server.retire()
    pair.advance(0.1)
    ends[0][1].transport.abortConnection()
    pair.until(lambda: ends[0][0].lost)
    pair.server.cut()
    pair.until(lambda: ends[1][0].lost and ends[2][0].lost)
    assert ends[0][0].lost.check(PeerAborted), "one of them, by its own program"
    assert all(near.lost.check(PeerClosedDown) for near, _ in ends[1:])


# ------------------------------------------------------------------ in which order the ends go


@versions
def test_whoever_leaves_goes_first_and_the_other_stays_to_acknowledge(version: int) -> None:
    pair = Pair(version)
    pair.open()[0].transport.loseConnection()
    pair.advance(1)
    pair.server.retire()
    pair.until(lambda: not pair.down.connected, patience=0.2)
    assert pair.up.connected
    pair.until(lambda: not pair.up.connected, patience=LEAVE_PATIENCE + 0.1)
    assert pair.clock.getDelayedCalls() == []


def test_a_retired_session_ends_with_its_last_stream() -> None:
    pair = Pair(2)
    near, far = pair.open()
    pair.client.retire()
    pair.advance(2 * LEAVE_PATIENCE)
    near.transport.write(b"still")
    pair.until(lambda: far.received == b"still")
    near.transport.loseConnection()
    pair.until(lambda: not pair.up.connected, patience=1)


def test_a_peer_that_does_not_answer_is_waited_for_just_a_while() -> None:
    pair = Pair(2)
    pair.advance(1)
    pair.up.broken = True
    began = pair.clock.seconds()
    pair.client.retire()
    pair.until(lambda: not pair.up.connected)
    assert pair.clock.seconds() - began == pytest.approx(LEAVE_PATIENCE, abs=0.1)


# ------------------------------------------------------------------ what is not acknowledged


class Acknowledging:
    """The part of an IARQ that a ledger asks: bytes unsent, and segments in flight."""

    class Segment:
        def __init__(self, size: int) -> None:
            self.data = bytes(size)

    def __init__(self) -> None:
        self.unsent = 0
        self.segments: list[Any] = []

    @property
    def unacknowledged(self) -> int:
        return len(self.segments)

    def inFlight(self, length: int, most: int) -> list[Any]:
        return self.segments[:most]

    def send(self, count: int) -> None:
        count = min(count, self.unsent)
        self.unsent -= count
        if count:
            self.segments.append(self.Segment(count))

    def acknowledge(self) -> int:
        return len(self.segments.pop(0).data) if self.segments else 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["write", "send", "acknowledge"]), st.integers(1, 300)), max_size=400))
def test_the_ledger_counts_just_the_payload_that_is_not_acknowledged(steps: list[tuple[str, int]]) -> None:
    arq = Acknowledging()
    ledger = Ledger(arq)
    stream = b""  # a one for each byte of payload, a zero for each of a header
    acknowledged = 0
    for step, size in steps:
        if step == "write":
            ledger.begin()
            frames, written = [], b""
            for payload in (size, size // 2):
                written += bytes(HEADER_SIZE) + b"\1" * payload
                frames.append((len(written), payload))
            arq.unsent += len(written)
            stream += written
            ledger.wrote(len(written), frames)
        elif step == "send":
            arq.send(size)
        else:
            acknowledged += arq.acknowledge()
        assert ledger.unacknowledged() == sum(stream[acknowledged:])


def test_of_a_compressed_write_all_counts_until_all_of_it_is_acknowledged() -> None:
    arq = Acknowledging()
    ledger = Ledger(arq)
    ledger.begin()
    arq.unsent += 100
    ledger.wrote(1000, [(1000, 992)])
    arq.send(60)
    assert ledger.unacknowledged() == 992
    arq.acknowledge()
    assert ledger.unacknowledged() == 992
    arq.send(40)
    arq.acknowledge()
    assert ledger.unacknowledged() == 0


def test_the_ledger_forgets_what_is_acknowledged() -> None:
    arq = Acknowledging()
    ledger = Ledger(arq)
    for _ in range(10_000):
        ledger.begin()
        arq.unsent += 10
        ledger.wrote(10, [(10, 2)])
        arq.send(10)
        arq.acknowledge()
    assert len(ledger._writes) < 200
