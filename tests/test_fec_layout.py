"""The FEC receiver facing senders with parameters it was never told, bad paths and hostile peers."""

from __future__ import annotations

import random

import pytest
from fectraffic import DATA, PARITY, decoded, encoded, framed, header, payloads
from hypothesis import given, settings
from hypothesis import strategies as st

from kcpstack.batch import inboundBatch
from kcpstack.counters import Counters
from kcpstack.layers.fec import FEC_HEADER, HELD_SHARDS, REACH, STRAYS_MAX, FECDecoder, FECEncoder
from kcpstack.layers.fec_groups import KEPT_GROUPS
from kcpstack.layers.fec_layout import LayoutSearch

LAYOUTS = st.tuples(st.integers(1, 40), st.integers(1, 40))
SMALL_LAYOUTS = st.tuples(st.integers(1, 6), st.integers(1, 4))
OFTEN_USED = [(10, 3), (5, 2), (3, 2), (1, 1), (2, 5), (20, 10), (70, 30), (128, 128), (255, 1), (1, 255)]
HELD_MAX = max(HELD_SHARDS, KEPT_GROUPS * 254)  # shards


# ------------------------------------------------------------------ ruling out


@given(LAYOUTS, st.data())
@settings(max_examples=60, deadline=None)
def test_the_true_layout_is_never_ruled_out_whatever_is_lost_doubled_or_reordered(layout, data):
    d, p = layout
    begin = data.draw(st.integers(0, 1 << 31), "begin")
    search = LayoutSearch()
    for offset in data.draw(st.lists(st.integers(0, 3 * (d + p)), max_size=60), "offsets"):
        assert search.observe(begin + offset, (begin + offset) % (d + p) >= d)
        assert search.layout in (None, layout)


@pytest.mark.parametrize("layout", OFTEN_USED)
def test_on_a_clean_path_a_layout_is_known_before_its_second_group_is_over(layout):
    d, p = layout
    for begin in (0, 5 * (d + p)):
        search = LayoutSearch()
        for seqid in range(begin, begin + 2 * (d + p)):
            search.observe(seqid, seqid % (d + p) >= d)
        assert search.layout == layout


@pytest.mark.parametrize("layout", OFTEN_USED)
def test_a_third_of_all_shards_lost_does_not_keep_a_layout_unknown(layout):
    d, p = layout
    chance = random.Random(f"loss {layout}")
    search = LayoutSearch()
    for seqid in range(30 * (d + p)):
        if chance.random() > 1 / 3:
            assert search.observe(seqid, seqid % (d + p) >= d)
    assert search.layout == layout


def test_data_alone_tells_nothing():
    search = LayoutSearch()
    for seqid in range(100):
        search.observe(seqid, False)
        assert search.layout is None


def test_shards_that_no_layout_explains_are_told():
    search = LayoutSearch()
    assert search.observe(12, False)
    assert not search.observe(12, True)


# ------------------------------------------------------------------ learning from datagrams


@pytest.mark.parametrize("d,p", [(5, 2), (10, 3), (3, 2), (1, 1), (1, 4), (20, 10), (70, 30)])
def test_a_decoder_recovers_for_any_sender_after_two_groups(d, p):
    encoder, decoder = FECEncoder(d, p), FECDecoder(Counters())
    decoded(decoder, encoded(encoder, payloads(2 * d + 1)))
    assert decoder.parameters == (d, p)
    encoded(encoder, payloads(d - 1))
    sent = payloads(d, "lost")
    assert decoded(decoder, encoded(encoder, sent)[min(d, p) :])[1] == sent[: min(d, p)]


@given(SMALL_LAYOUTS, st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_a_sender_is_learned_through_loss(layout, seed):
    d, p = layout
    chance = random.Random(seed)
    decoder = FECDecoder(Counters())
    datagrams = encoded(FECEncoder(d, p), payloads(60 * d))
    decoded(decoder, [datagram for datagram in datagrams if chance.random() > 0.2], 5)
    assert decoder.parameters == layout


def test_nothing_is_rebuilt_while_another_layout_could_explain_what_arrived():
    """10/3, but the burst that is lost hides it from a receiver that would take it for 9/4."""
    sent = payloads(10)
    datagrams = encoded(FECEncoder(10, 3), sent)
    decoder = FECDecoder(Counters())
    assert decoded(decoder, datagrams[1:9] + datagrams[10:]) == (sent[1:9], [])
    assert decoder.parameters is None


def test_parameters_are_unknown_again_once_contradicted_and_then_learned_anew():
    encoder, decoder = FECEncoder(10, 3), FECDecoder(Counters())
    decoded(decoder, encoded(encoder, payloads(30)))
    assert decoder.parameters == (10, 3)
    newest = 38
    assert decoded(decoder, [framed(newest + 13, b"data where parity was expected")])[1] == []
    assert decoder.parameters is None
    encoder.reconfigure(5, 2)
    decoded(decoder, encoded(encoder, payloads(60)))
    assert decoder.parameters == (5, 2)


@pytest.mark.parametrize("before,after", [((10, 3), (5, 2)), ((5, 2), (10, 3)), ((10, 3), (12, 3)), ((3, 2), (3, 1))])
def test_a_sender_may_change_its_parameters_under_way(before, after):
    encoder, decoder = FECEncoder(*before), FECDecoder(Counters())
    decoded(decoder, encoded(encoder, payloads(4 * before[0] + 1)))
    assert decoder.parameters == before
    encoder.reconfigure(*after)
    decoded(decoder, encoded(encoder, payloads(8 * after[0])), 4)
    assert decoder.parameters == after
    sent = payloads(after[0], "lost")
    assert decoded(decoder, encoded(encoder, sent)[1:]) == (sent[1:], sent[:1])


def test_a_sender_that_begins_its_numbering_again_is_followed():
    decoder = FECDecoder(Counters())
    encoder = FECEncoder(5, 2)
    encoder._next = 7 * 10**6  # no test can send that many
    decoded(decoder, encoded(encoder, payloads(20)))
    sent = payloads(40)
    datagrams = encoded(FECEncoder(5, 2), sent)
    arrived, recovered = decoded(decoder, datagrams[:42] + datagrams[43:])
    assert (arrived, recovered) == (sent[:30] + sent[31:], [sent[30]])


@pytest.mark.parametrize("seqid", [REACH * 2, 1 << 31, 0xFFFFFFF0])
def test_a_forged_seqid_far_away_does_not_stop_recovery(seqid):
    encoder, decoder = FECEncoder(5, 2), FECDecoder(Counters())
    decoded(decoder, encoded(encoder, payloads(20)))
    for _ in range(3 * STRAYS_MAX):
        sent = payloads(5)
        arriving = encoded(encoder, sent)[1:] + [framed(seqid, b"forged")]
        assert decoded(decoder, arriving, 1) == (sent[1:] + [b"forged"], sent[:1])


# ------------------------------------------------------------------ no wrong byte, ever


class Path:
    """Loses, doubles and reorders; remembers what it delivered."""

    def __init__(self, seed: int, loss: float) -> None:
        self._chance = random.Random(seed)
        self._loss = loss
        self._bursts = self._chance.random() < 0.5
        self._losing = False

    def carry(self, datagrams: list[bytes]) -> list[bytes]:
        delayed = []
        for position, datagram in enumerate(datagrams):
            if not self._bursts or self._chance.random() < 0.3:
                self._losing = self._chance.random() < self._loss
            if not self._losing:
                late = self._chance.choice((0, 0, 0, 0, 3, 12))
                delayed.append((position + late, datagram))
                if self._chance.random() < 0.05:
                    delayed.append((position + late + self._chance.randrange(30), datagram))
        return [datagram for _, datagram in sorted(delayed, key=lambda item: item[0])]


class Witness:
    """A decoder under oath: all that comes up was sent, nothing is rebuilt that had come up."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.decoder = FECDecoder(self.counters)
        self.seen: set[bytes] = set()
        self.rebuilt = 0

    def receive(self, datagrams: list[bytes], batchLength: int, sent: set[bytes]) -> None:
        for first in range(0, len(datagrams), batchLength):
            batch = datagrams[first : first + batchLength]
            arrived, recovered = decoded(self.decoder, batch)
            assert arrived == [d[FEC_HEADER:] for d in batch if header(d)[1] == DATA]
            assert set(recovered) <= sent
            self.seen.update(arrived)
            assert not self.seen.intersection(recovered)
            assert len(set(recovered)) == len(recovered)
            self.seen.update(recovered)
            self.rebuilt += len(recovered)
            assert self.decoder.shardsHeld <= HELD_MAX


@given(
    st.lists(SMALL_LAYOUTS, min_size=1, max_size=4),
    st.integers(0, 1 << 30),
    st.sampled_from([0.02, 0.1, 0.3, 0.6]),
    st.integers(1, 50),
)
@settings(max_examples=100, deadline=None)
def test_whatever_a_path_does_only_what_was_sent_comes_up_and_nothing_is_rebuilt_twice(layouts, seed, loss, length):
    """Datagrams of one length: then the size field, which checks others, is right even in garbage."""
    encoder, path, witness = FECEncoder(), Path(seed, loss), Witness()
    sent: set[bytes] = set()
    for number, layout in enumerate(layouts):
        encoder.reconfigure(*layout)
        datagrams = payloads(layout[0] * 20 + 3, (seed, number), length=20)
        sent.update(datagrams)
        witness.receive(path.carry(encoded(encoder, datagrams)), length, sent)
    assert witness.counters.FECRecovered == witness.rebuilt


@given(LAYOUTS, st.integers(0, 1 << 30), st.sampled_from([0.02, 0.1, 0.3]))
@settings(max_examples=25, deadline=None)
def test_the_same_holds_for_large_groups(layout, seed, loss):
    witness = Witness()
    datagrams = payloads(layout[0] * 6, seed, length=10)
    witness.receive(Path(seed, loss).carry(encoded(FECEncoder(*layout), datagrams)), 64, set(datagrams))


@given(SMALL_LAYOUTS, st.integers(0, 1 << 30), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_the_same_holds_where_shards_contradict_the_layout(layout, seed, batchLength):
    chance, witness = random.Random(seed), Witness()
    encoder = FECEncoder(*layout)
    sent: set[bytes] = set()
    for number in range(20):
        datagrams = payloads(layout[0] * 4 + chance.randrange(layout[0] + 1), (seed, number), length=20)
        sent.update(datagrams)
        arriving = Path(seed + number, 0.1).carry(encoded(encoder, datagrams))
        witness.receive(arriving, batchLength, sent)
        if arriving and witness.decoder.parameters is not None:
            seqid, kind = header(chance.choice(arriving))
            parity = seqid.to_bytes(4, "little") + b"\xf2\0forged"
            witness.receive([parity if kind == DATA else framed(seqid, b"forged")], 1, sent)
            assert witness.decoder.parameters is None


@pytest.mark.parametrize("before,after", [((3, 2), (2, 2)), ((2, 2), (4, 1)), ((4, 2), (3, 1)), ((3, 1), (4, 2))])
def test_no_loss_around_a_change_of_parameters_mixes_shards_of_both(before, after):
    for unfinished in range(before[0]):
        first = payloads(4 * before[0] + unfinished, "before", length=20)
        second = payloads(3 * after[0], "after", length=20)
        encoder = FECEncoder(*before)
        datagrams = encoded(encoder, first)
        encoder.reconfigure(*after)
        changed = encoded(encoder, second)
        for lost in range(1 << 7):
            witness = Witness()
            arriving = [datagram for number, datagram in enumerate(changed) if number > 6 or not lost >> number & 1]
            witness.receive(datagrams + arriving, 1000, set(first + second))


def test_what_is_held_while_learning_goes_with_a_contradiction():
    decoder = FECDecoder(Counters())
    decoded(decoder, [framed(seqid, b"x") for seqid in range(10)])
    assert decoder.shardsHeld == 10
    decoded(decoder, [b"\5\0\0\0\xf2\0parity where data was"])
    assert decoder.shardsHeld == 0


def test_a_long_stream_stays_in_step():
    counters = Counters()
    encoder, decoder = FECEncoder(5, 2), FECDecoder(counters)
    for _ in range(3 * REACH // 700 + 1):
        decoded(decoder, encoded(encoder, payloads(500)))
    assert (decoder.parameters, counters.FECErrs) == ((5, 2), 0)


# ------------------------------------------------------------------ hostile peers


@given(st.lists(st.binary(max_size=40), max_size=40))
@settings(max_examples=60, deadline=None)
def test_arbitrary_bytes_never_raise(datagrams):
    arrived, _ = FECDecoder(Counters()).decode(inboundBatch(datagrams))
    assert len(arrived) <= len(datagrams)


@given(st.integers(0, 1 << 30), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_mutilated_datagrams_never_raise_and_never_grow_memory(seed, batchLength):
    chance = random.Random(seed)
    decoder = FECDecoder(Counters())
    for datagram in encoded(FECEncoder(5, 3), payloads(100)):
        mutilated = bytearray(datagram)
        for _ in range(chance.choice((0, 0, 0, 1, 3))):
            mutilated[chance.randrange(len(mutilated))] = chance.randrange(256)
        decoded(decoder, [bytes(mutilated[: chance.choice((len(mutilated), chance.randrange(40)))])], batchLength)
        assert decoder.shardsHeld <= HELD_MAX


SEQIDS = st.one_of(
    st.integers(0, 40), st.integers(0, 5000), st.integers(0, 0xFFFFFFFF), st.integers(0xFFFFFF00, 0xFFFFFFFF)
)


@given(st.lists(st.tuples(SEQIDS, st.sampled_from((DATA, PARITY)), st.binary(max_size=12)), max_size=150))
@settings(max_examples=60, deadline=None)
def test_hostile_headers_never_raise_and_never_grow_memory(shards):
    counters = Counters()
    decoder = FECDecoder(counters)
    for seqid, kind, rest in shards:
        decoded(decoder, [framed(seqid, rest) if kind == DATA else seqid.to_bytes(4, "little") + b"\xf2\0" + rest])
        assert decoder.shardsHeld <= HELD_MAX
        assert counters.FECShardSet <= KEPT_GROUPS


@pytest.mark.parametrize("step", [1, 2, 13, 14, 1000, REACH - 1, REACH, 1 << 31])
def test_seqids_that_run_on_forever_keep_three_groups(step):
    counters = Counters()
    decoder = FECDecoder(counters)
    encoder = FECEncoder(10, 3)
    decoded(decoder, encoded(encoder, payloads(30)))
    for number in range(300):
        decoded(decoder, [framed(39 + number * step & 0xFFFFFFFF, b"x" * 50)])
        assert decoder.shardsHeld <= max(HELD_SHARDS, 9 * KEPT_GROUPS)
        assert counters.FECShardSet <= KEPT_GROUPS


def test_a_large_batch_of_one_shard_each_of_many_groups_keeps_three():
    encoder, decoder = FECEncoder(3, 2), FECDecoder(Counters())
    decoded(decoder, encoded(encoder, payloads(9)))
    decoded(decoder, encoded(encoder, payloads(300))[::5])
    assert decoder.shardsHeld == KEPT_GROUPS
