"""The strategies of the kit: what they draw is valid, shrinks to little, and is good for our own layers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, find, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from twisted.internet.task import Clock

from kcpstack.batch import Batch, inboundBatch
from kcpstack.ciphers import builtin
from kcpstack.counters import Counters
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.congestion import FixedWindow
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.kernels.segment import isWhole
from kcpstack.layers.smux_frames import FrameDecoder
from kcpstack.options.settings import SETTINGS
from kcpstack.seams import checkLayers, layersOf
from kcpstack.testing.arqs import ARQPair, flushAll
from kcpstack.testing.datagrams import DatagramRecorder
from kcpstack.testing.erasure import assertRebuilt, sampleShards
from kcpstack.testing.impairment import PERFECT, Faults
from kcpstack.testing.network import SimulatedNetwork, advanceUntil
from kcpstack.testing.strategies import (
    applySchedule,
    batches,
    cutAt,
    cuts,
    datagrams,
    encodeFrames,
    erasurePatterns,
    faults,
    frames,
    kcpDatagrams,
    mutations,
    networkSchedules,
    segments,
    settings,
)

some = hypothesis(max_examples=40, deadline=None)


def newARQ() -> ARQ:
    return ARQ(1, 200, Tuning(receiveWindow=16, sendWindow=16, resend=2), FixedWindow(16), Counters())


@some
@given(st.data())
def test_batches_hold_what_was_asked_for_and_have_the_room(data: st.DataObject) -> None:
    wanted = data.draw(st.lists(datagrams(), max_size=5))
    batch = data.draw(batches(st.just(wanted), 28, st.integers(0, 3)))
    assert list(map(bytes, batch)) == wanted and len(batch.addresses or ()) == len(wanted)
    slots = sorted(zip(batch.starts, batch.ends))
    assert all(start - end >= 28 for (_, end), (start, _) in zip([(0, 0), *slots], slots))


@some
@given(batches(headroom=28))
def test_any_batch_is_sealed_and_opened(batch: Batch) -> None:
    sent = list(map(bytes, batch))
    cipher = builtin.aes.build(bytes(32), bytes)
    cipher.sealBatch(batch)
    assert cipher.openBatch(batch) == 0
    assert list(map(bytes, batch)) == sent


@some
@given(kcpDatagrams())
def test_kcp_datagrams_are_whole(datagram: bytes) -> None:
    assert isWhole(datagram, 0, len(datagram))


@some
@given(st.lists(kcpDatagrams(mutated=True), max_size=8), st.booleans())
def test_no_kcp_datagram_harms_an_arq(arrived: list[bytes], recovered: bool) -> None:
    arq = newARQ()
    arq.write(bytes(1000))
    flushAll(arq, 0.0)
    for datagram in arrived:
        arq.datagramsReceived(inboundBatch([datagram]), 5.0, recovered)
        flushAll(arq, 5.0)
    assert arq.unread <= 16 and arq.unacknowledged <= 16


@pytest.mark.parametrize("version", [1, 2])
def test_frames_come_out_of_a_stream_cut_anywhere(version: int) -> None:
    @some
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        sent = data.draw(st.lists(frames(version), max_size=8))
        decoder = FrameDecoder(version)
        pieces = data.draw(cuts(encodeFrames(version, sent)))
        got = [(command, number, bytes(payload)) for piece in pieces for command, number, payload in decoder.feed(piece)]
        assert got == sent and decoder.error is None

    holds()


@some
@given(st.data())
def test_whatever_survives_is_enough_or_is_not(data: st.DataObject) -> None:
    shards, code = sampleShards(6), ReedSolomon(6, 3)
    group = shards + code.encode(shards)
    held = data.draw(erasurePatterns(6, 3))
    assertRebuilt(code.reconstruct({index: group[index] for index in held}), shards)
    few = data.draw(erasurePatterns(6, 3, enough=False))
    assert len(few) < 6
    with pytest.raises(ValueError):
        code.reconstruct({index: group[index] for index in few})


@hypothesis(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(faults(worst=0.2))
def test_an_arq_carries_over_any_path_without_damage(path: Faults) -> None:
    pair = ARQPair(newARQ(), newARQ(), Faults(**{**vars(path), "corrupt": 0.0}))
    pair.write(0, bytes(range(250)) * 12)
    pair.finish(3_600_000.0)


@some
@given(networkSchedules())
def test_after_a_schedule_the_path_is_passable(schedule: list[Any]) -> None:
    clock = Clock()
    network = SimulatedNetwork(clock, 1)
    server = network.transport(("10.0.0.1", 29900))
    client = network.transport(peer=("10.0.0.1", 29900))
    heard = DatagramRecorder()
    server.startListening(heard)
    client.startListening(DatagramRecorder())
    applySchedule(network, schedule, server, client)
    advanceUntil(clock, lambda: False, 60)
    network.configure(**vars(PERFECT))
    client.send(inboundBatch([b"still here"]), None)
    advanceUntil(clock, lambda: False, 5)
    assert heard.datagrams == [b"still here"]
    assert sorted(change.at for change in schedule) == [change.at for change in schedule]


@pytest.mark.parametrize("role", ["client", "server"])
def test_settings_are_valid(role: str) -> None:
    @some
    @given(settings(role, quiet=True))
    def holds(made: Any) -> None:
        assert isinstance(made, SETTINGS[role]) and made.quiet
        checkLayers(made)
        layersOf(made).cipher.build(bytes(32), bytes)

    holds()


quick = hypothesis(max_examples=40, deadline=None, database=None)


def test_all_shrink_to_little() -> None:
    def least(strategy: Any, condition: Any = lambda drawn: True) -> Any:
        return find(strategy, condition, settings=quick)

    assert least(datagrams()) == b""
    assert len(least(datagrams(), lambda drawn: len(drawn) > 100)) == 101
    assert len(least(batches())) == 0
    assert bytes(least(batches(), lambda batch: len(batch) == 1).buffer) == b""
    assert least(segments(7)).data == b""
    assert len(least(kcpDatagrams())) == 24
    assert least(mutations(b"original")) == b"original"
    assert least(frames()) == (3, 3, b"")
    assert least(cuts(b"stream")) == [b"stream"]
    assert least(erasurePatterns(4, 2)) == set(range(6))
    assert least(faults()) == PERFECT
    assert least(networkSchedules()) == []


def test_cutting_takes_places_in_any_order() -> None:
    assert cutAt(b"abcdef", [4, 0, 2]) == [b"", b"ab", b"cd", b"ef"]
