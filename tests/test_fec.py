"""The FEC layer between two ends with the same parameters: what is sent, what comes up."""

from __future__ import annotations

import pytest
from fectraffic import (
    DATA,
    OUT_OF_BAND,
    OVERHEAD,
    PARITY,
    SLOT,
    decoded,
    encoded,
    framed,
    header,
    oracleParity,
    payloads,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.layers.fec import FEC_HEADER, GROUP_GAP, LEAP, FECDecoder, FECEncoder, payloadStart
from kcpstack.layers.fec_groups import KEPT_GROUPS

CODES = st.tuples(st.integers(1, 7), st.integers(1, 4))


class CountedCode(ReedSolomon):
    """Knows how often it had to rebuild."""

    rebuilds = 0

    def reconstruct(self, shards):
        CountedCode.rebuilds += 1
        return super().reconstruct(shards)


def primed(d: int, p: int, counters: Counters | None = None, newCode=ReedSolomon) -> tuple[FECEncoder, FECDecoder]:
    """Two ends that have exchanged two groups, so that the decoder knows the parameters."""
    encoder, decoder = FECEncoder(d, p), FECDecoder(counters or Counters(), newCode)
    decoded(decoder, encoded(encoder, payloads(2 * d, "primed")))
    decoded(decoder, encoded(encoder, payloads(d, "primed again")))
    assert decoder.parameters == (d, p)
    return encoder, decoder


# ------------------------------------------------------------------ the way down


@given(CODES, st.integers(0, 30), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_what_leaves_is_what_the_protocol_page_says_however_it_is_batched(code, count, batchLength):
    d, p = code
    datagrams = payloads(count)
    expected, seqid = [], 0
    for first in range(0, count, d):
        group = datagrams[first : first + d]
        for datagram in group:
            expected.append(framed(seqid, datagram))
            seqid += 1
        if len(group) == d:
            for parity in oracleParity(p, group):
                expected.append(seqid.to_bytes(4, "little") + b"\xf2\0" + parity)
                seqid += 1
    assert encoded(FECEncoder(d, p), datagrams, batchLength=batchLength) == expected


def test_headers_are_written_in_place_and_the_room_below_is_left_free():
    batch = outboundBatch(SLOT, OVERHEAD + FEC_HEADER)
    for datagram in payloads(7):
        batch.append(datagram)
    FECEncoder(3, 2).encode(batch, 0)
    assert len(batch) == 7 + 4
    assert all((start - OVERHEAD) % SLOT == 0 for start in batch.starts)
    assert len({start // SLOT for start in batch.starts}) == len(batch)
    assert max(batch.ends) <= len(batch.buffer)


def test_the_longest_datagram_that_fits_a_slot_gets_its_parity():
    longest = bytes(SLOT - OVERHEAD - FEC_HEADER)
    sent = encoded(FECEncoder(2, 1), [b"short", longest])
    assert [len(datagram) for datagram in sent] == [FEC_HEADER + 5, SLOT - OVERHEAD, SLOT - OVERHEAD]


def test_a_batch_used_again_after_clear_is_filled_from_its_first_slot():
    batch = outboundBatch(SLOT, OVERHEAD + FEC_HEADER)
    encoder = FECEncoder(2, 1)
    for _ in range(5):
        batch.clear()
        for datagram in payloads(2):
            batch.append(datagram)
        encoder.encode(batch, 0)
        assert len(batch.buffer) == 3 * SLOT


@pytest.mark.parametrize("silence,parity", [(GROUP_GAP - 1, 2), (GROUP_GAP, 0), (10 * GROUP_GAP, 0)])
def test_parity_is_left_out_where_silence_came_before_the_datagram_that_ends_the_group(silence, parity):
    encoder = FECEncoder(3, 2)
    encoded(encoder, payloads(2), now=1000)
    last = encoded(encoder, payloads(1), now=1000 + silence)
    assert [header(datagram)[1] for datagram in last] == [DATA] + [PARITY] * parity
    assert header(encoded(encoder, payloads(1), now=1000 + silence)[0]) == (5, DATA)


def test_silence_within_a_group_does_not_matter_when_its_end_follows_at_once():
    encoder = FECEncoder(3, 2)
    encoded(encoder, payloads(1), now=0)
    assert len(encoded(encoder, payloads(2), now=10 * GROUP_GAP)) == 4


def test_the_very_first_group_gets_its_parity_whatever_the_clock_says():
    assert len(encoded(FECEncoder(1, 1), payloads(1), now=10 * GROUP_GAP)) == 2


@pytest.mark.parametrize("parameters", [(0, 0), (10, 0), (0, 3)])
def test_without_parameters_a_batch_is_left_alone(parameters):
    encoder = FECEncoder(*parameters)
    batch = outboundBatch(SLOT, OVERHEAD + FEC_HEADER)
    batch.append(b"untouched")
    starts = list(batch.starts)
    encoder.encode(batch, 0)
    assert (encoder.parameters, batch.starts, list(map(bytes, batch))) == (None, starts, [b"untouched"])


def test_fec_switched_on_later_begins_at_the_first_seqid():
    encoder = FECEncoder()
    encoded(encoder, payloads(5))
    encoder.reconfigure(3, 2)
    assert encoder.parameters == (3, 2)
    assert [header(datagram)[0] for datagram in encoded(encoder, payloads(3))] == [0, 1, 2, 3, 4]


def test_a_change_of_parameters_begins_a_group_far_from_the_seqids_used():
    encoder = FECEncoder(10, 3)
    encoded(encoder, payloads(14))
    encoder.reconfigure(5, 2)
    sent = encoded(encoder, payloads(5))
    seqid = header(sent[0])[0]
    assert seqid % 7 == 0 and seqid >= 17 + LEAP
    assert [header(datagram) for datagram in sent] == [(seqid + i, DATA if i < 5 else PARITY) for i in range(7)]
    assert [datagram[6:] for datagram in sent[5:]] == oracleParity(2, payloads(5))


def test_the_same_parameters_again_change_nothing():
    encoder = FECEncoder(3, 2)
    encoded(encoder, payloads(2))
    encoder.reconfigure(3, 2)
    assert [header(datagram)[0] for datagram in encoded(encoder, payloads(1))] == [2, 3, 4]


@pytest.mark.parametrize("parameters", [(200, 57), (-1, 3), (3, -1)])
def test_impossible_parameters_are_refused_and_the_old_ones_stay(parameters):
    encoder = FECEncoder(3, 2)
    encoded(encoder, payloads(2))
    with pytest.raises(ValueError):
        encoder.reconfigure(*parameters)
    with pytest.raises(ValueError):
        FECEncoder(*parameters)
    assert [header(datagram)[0] for datagram in encoded(encoder, payloads(1))] == [2, 3, 4]


# ------------------------------------------------------------------ the way up


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_up_to_p_lost_of_each_group_are_rebuilt_exactly(data):
    d, p = data.draw(CODES)
    encoder, decoder = primed(d, p)
    groups = data.draw(st.integers(1, 6), "groups")
    batchLength = data.draw(st.integers(1, 40), "batch length")
    sent = payloads(groups * d, "rebuilt")
    arriving, lost = [], []
    for number, datagram in enumerate(encoded(encoder, sent)):
        if number % (d + p) == 0:
            missing = data.draw(st.sets(st.integers(0, d + p - 1), max_size=p), "lost of this group")
        if number % (d + p) not in missing:
            arriving.append(datagram)
        elif number % (d + p) < d:
            lost.append(datagram[FEC_HEADER:])
    arrived, recovered = decoded(decoder, arriving, batchLength)
    assert recovered == lost
    assert arrived == [datagram for datagram in sent if datagram not in lost]


def test_losses_of_the_first_group_are_rebuilt_once_the_parameters_are_certain():
    sent = payloads(20)
    datagrams = encoded(FECEncoder(10, 3), sent)
    decoder = FECDecoder(Counters())
    arrived, recovered = decoded(decoder, datagrams[:4] + datagrams[5:], 1)
    assert recovered == [sent[4]]
    assert arrived == sent[:4] + sent[5:]


def test_more_losses_than_parity_lose_only_what_was_lost():
    encoder, decoder = primed(4, 2)
    sent = payloads(8)
    datagrams = encoded(encoder, sent)
    assert decoded(decoder, datagrams[3:]) == (sent[3:], [])


def test_a_whole_group_and_parity_after_it_cost_no_arithmetic():
    CountedCode.rebuilds = 0
    counters = Counters()
    encoder, decoder = primed(4, 2, counters, CountedCode)
    full = counters.FECFullShards
    decoded(decoder, encoded(encoder, payloads(40)), 1)
    assert (CountedCode.rebuilds, counters.FECFullShards - full, counters.FECRecovered) == (0, 10, 0)
    assert decoder.shardsHeld == 0


def test_data_overtaken_by_parity_in_one_batch_is_not_rebuilt():
    CountedCode.rebuilds = 0
    encoder, decoder = primed(4, 2, newCode=CountedCode)
    sent = payloads(4)
    arrived, recovered = decoded(decoder, reversed(encoded(encoder, sent)))
    assert (arrived, recovered, CountedCode.rebuilds) == (sent[::-1], [], 0)


def test_a_datagram_that_comes_after_it_was_rebuilt_comes_up_as_arrived():
    encoder, decoder = primed(2, 1)
    first, second = payloads(2)
    late, inTime, parity = encoded(encoder, [first, second])
    assert decoded(decoder, [inTime, parity]) == ([second], [first])
    assert decoded(decoder, [late, parity, inTime]) == ([first, second], [])


def test_duplicates_do_not_count_as_shards():
    encoder, decoder = primed(4, 2)
    sent = payloads(4)
    datagrams = encoded(encoder, sent)
    assert decoded(decoder, [datagrams[0]] * 9 + [datagrams[4]] * 9, 1) == ([sent[0]] * 9, [])
    assert decoded(decoder, datagrams[1:3] + [datagrams[4]]) == (sent[1:3], [sent[3]])


def test_plain_datagrams_and_fec_may_come_mixed():
    encoder, decoder = primed(2, 1)
    plain = payloads(3, "plain")
    first, second = payloads(2)
    _, inTime, parity = encoded(encoder, [first, second])
    assert decoded(decoder, [plain[0], inTime, plain[1], parity, plain[2]]) == (
        [plain[0], second, plain[1], plain[2]],
        [first],
    )


def test_datagrams_too_short_for_fec_pass_as_they_came():
    short = [b"", b"\xf1", b"12345", b"\0\0\0\0\xf1"]
    assert decoded(FECDecoder(Counters()), short) == (short, [])


def test_datagrams_of_dropped_groups_still_come_up():
    encoder, decoder = primed(2, 1)
    sent = payloads(20)
    datagrams = encoded(encoder, sent)
    held = decoder.shardsHeld
    assert decoded(decoder, datagrams[3:])[0] == sent[2:]
    assert decoded(decoder, datagrams[:3]) == (sent[:2], [])
    assert decoder.shardsHeld == held


def test_a_group_whose_parity_was_left_out_leaves_the_next_ones_in_step():
    encoder, decoder = primed(3, 2)
    sent = payloads(6)
    datagrams = encoded(encoder, sent[:2], now=0) + encoded(encoder, sent[2:3], now=GROUP_GAP)
    datagrams += encoded(encoder, sent[3:], now=GROUP_GAP)[1:]
    assert decoded(decoder, datagrams) == (sent[:3] + sent[4:], [sent[3]])


def test_seqids_wrap_at_the_last_whole_group():
    encoder, decoder = FECEncoder(10, 3), FECDecoder(Counters())
    end = 0xFFFFFFFF // 13 * 13
    encoder._next = end - 3 * 13  # no test can send that many
    sent = payloads(60)
    datagrams = encoded(encoder, sent)
    assert [header(datagram)[0] for datagram in datagrams[38:40]] == [end - 1, 0]
    arriving = [datagram for number, datagram in enumerate(datagrams) if number % 13 != 4]
    _, recovered = decoded(decoder, arriving, 7)
    assert sorted(recovered) == sorted(sent[4::10])
    assert decoder.parameters == (10, 3)


def test_shards_beyond_the_wrap_are_ignored_but_not_their_datagrams():
    counters = Counters()
    encoder, decoder = FECEncoder(10, 3), FECDecoder(counters)
    end = 0xFFFFFFFF // 13 * 13
    encoder._next = end - 3 * 13
    decoded(decoder, encoded(encoder, payloads(30)))
    errors, held = counters.FECErrs, decoder.shardsHeld
    assert decoded(decoder, [framed(end, b"still good")]) == ([b"still good"], [])
    assert (counters.FECErrs - errors, decoder.shardsHeld, decoder.parameters) == (1, held, (10, 3))


# ------------------------------------------------------------------ what is wrong


@pytest.mark.parametrize(
    "datagram",
    [
        framed(0, b"x" * 30)[:-1],  # cut short
        framed(0, b"x" * 30)[:7],  # no room for the size
        framed(0, b"x" * 30)[:6],
        b"\0\0\0\0\xf1\0\0\0rest",  # sizes that do not even count themselves
        b"\0\0\0\0\xf1\0\1\0rest",
        b"\0\0\0\0\xf2\0\1",  # parity of less than a size
    ],
)
def test_datagrams_that_lie_about_their_size_are_dropped_and_counted(datagram):
    counters = Counters()
    decoder = FECDecoder(counters)
    assert decoded(decoder, [datagram, b"good datagram"]) == ([b"good datagram"], [])
    assert (counters.InErrs, decoder.shardsHeld) == (1, 0)
    assert payloadStart(datagram, 0, len(datagram)) in (None, FEC_HEADER)


def test_bytes_after_the_size_are_cut_off():
    assert decoded(FECDecoder(Counters()), [framed(0, b"datagram") + b"tail"])[0] == [b"datagram"]


def test_out_of_band_packets_are_counted_and_dropped():
    counters = Counters()
    packet = b"\xff\xff\xff\xff" + bytes([OUT_OF_BAND, 0, 12, 0]) + b"convpayload"
    assert decoded(FECDecoder(counters), [packet, packet[:6]]) == ([], [])
    assert (counters.OOBPackets, counters.InErrs) == (2, 0)
    assert payloadStart(packet, 0, len(packet)) is None


def test_a_damaged_shard_that_shows_in_what_is_rebuilt_brings_nothing_up():
    counters = Counters()
    encoder, decoder = primed(2, 1, counters)
    _, inTime, parity = encoded(encoder, [b"a", b"a much longer datagram"])
    damaged = parity[:-1] + bytes([parity[-1] ^ 1])
    assert decoded(decoder, [inTime, damaged]) == ([b"a much longer datagram"], [])
    assert (counters.FECErrs, counters.FECRecovered, decoder.parameters) == (1, 0, None)


def test_shards_longer_than_any_datagram_are_not_kept():
    counters = Counters()
    decoder = FECDecoder(counters)
    giant = framed(0, bytes(60000))
    assert decoded(decoder, [giant]) == ([bytes(60000)], [])
    assert (counters.FECErrs, decoder.shardsHeld) == (1, 0)


def test_the_counters_tell_what_happened():
    counters = Counters()
    encoder, decoder = primed(4, 2, counters)
    parity, full = counters.FECParityShards, counters.FECFullShards
    datagrams = encoded(encoder, payloads(12))
    decoded(decoder, datagrams[1:7] + datagrams[8:])
    assert (counters.FECParityShards - parity, counters.FECFullShards - full) == (6, 1)
    assert (counters.FECRecovered, counters.FECErrs, counters.InErrs) == (2, 0, 0)
    assert (counters.FECShardSet, counters.FECShardMin) == (3, 3)


def test_data_of_a_group_that_is_given_up_on_is_counted():
    counters = Counters()
    encoder, decoder = primed(4, 2, counters)
    short = counters.FECShortShards
    datagrams = encoded(encoder, payloads(4 * (1 + KEPT_GROUPS)))
    decoded(decoder, datagrams[2:5])  # two of four data shards, one of two parity shards
    decoded(decoder, datagrams[6:])
    assert counters.FECShortShards - short == 2


def test_where_the_kcp_datagram_begins_is_told_without_decoding():
    plain, = payloads(1)
    data, parity = encoded(FECEncoder(1, 1), [plain])
    buffer = b"before" + data
    assert payloadStart(buffer, 6, len(buffer)) == 6 + FEC_HEADER
    assert payloadStart(plain, 0, len(plain)) == 0
    assert payloadStart(parity, 0, len(parity)) is None


def test_an_empty_batch_gives_two_empty_ones():
    arrived, recovered = FECDecoder(Counters()).decode(inboundBatch([]))
    assert (len(arrived), len(recovered)) == (0, 0)
