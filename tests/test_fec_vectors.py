"""FEC as the Go peers send it: their captured groups, encoded and rebuilt by us, byte for byte."""

from __future__ import annotations

from itertools import combinations

import pytest
import vectorfiles
from fectraffic import DATA, decoded, encoded, header

from kcpstack.batch import outboundBatch
from kcpstack.ciphers import derivePass, findCipher
from kcpstack.counters import Counters
from kcpstack.layers.fec import FEC_HEADER, FECDecoder, FECEncoder, payloadStart
from kcpstack.testing.ciphers import openAll

CRYPTS = ("aes", "aes-128", "aes-192", "none", "null", "xor")
READABLE = [name for name in vectorfiles.names() if vectorfiles.load(name)["crypt"] in CRYPTS]
WITH_FEC = [name for name in READABLE if vectorfiles.load(name)["datashard"]]
DIRECTIONS = [(name, direction) for name in WITH_FEC for direction in ("up", "down")]


def opened(name: str, direction: str) -> tuple[int, int, list[bytes]]:
    """(d, p, the datagrams of one direction as FEC made them)."""
    vector = vectorfiles.load(name)
    cipher = findCipher(vector["crypt"]).build(derivePass(vector["key"]), bytes)
    sealed = [bytes.fromhex(item["hex"]) for item in vector["datagrams"] if item["dir"] == direction]
    datagrams = openAll(cipher, sealed)
    assert len(datagrams) == len(sealed)
    return vector["datashard"], vector["parityshard"], datagrams


def inOrder(datagrams: list[bytes]) -> list[bytes]:
    return sorted(datagrams, key=lambda datagram: header(datagram)[0])


def carried(datagrams: list[bytes]) -> list[bytes]:
    """The KCP datagrams inside data shards."""
    return [datagram[FEC_HEADER:] for datagram in datagrams if header(datagram)[1] == DATA]


def test_both_generations_of_peers_are_covered():
    assert {"debian_aes_fec10-3_smux1_nocomp", "debian_none_fec10-3_smux1_nocomp"} <= set(WITH_FEC)
    assert {"aes_fec10-3_smux2_nocomp", "null_fec3-2_smux2_comp", "xor_fec10-3_smux1_nocomp"} <= set(WITH_FEC)


@pytest.mark.parametrize("name,direction", DIRECTIONS)
def test_our_encoder_sends_exactly_what_the_peer_sent(name, direction):
    d, p, datagrams = opened(name, direction)
    theirs = inOrder(datagrams)
    assert encodedWide(FECEncoder(d, p), carried(theirs)) == theirs


def encodedWide(encoder: FECEncoder, datagrams: list[bytes]) -> list[bytes]:
    batch = outboundBatch(1500, FEC_HEADER)
    for datagram in datagrams:
        batch.append(datagram)
    encoder.encode(batch, 0)
    return [bytes(datagram) for datagram in batch]


@pytest.mark.parametrize("name,direction", DIRECTIONS)
def test_every_datagram_arrives_and_the_parameters_are_learned(name, direction):
    d, p, datagrams = opened(name, direction)
    counters = Counters()
    decoder = FECDecoder(counters)
    assert decoded(decoder, datagrams) == (carried(datagrams), [])
    assert decoder.parameters == (d, p)
    assert counters.FECErrs == counters.InErrs == counters.FECRecovered == 0


@pytest.mark.parametrize("name,direction", DIRECTIONS)
def test_any_shards_up_to_the_parity_may_be_lost_from_a_complete_group(name, direction):
    d, p, datagrams = opened(name, direction)
    n = d + p
    datagrams = inOrder(datagrams)
    groups = [group for number in range(len(datagrams)) if len(group := datagrams[number * n : number * n + n]) == n]
    assert groups
    leadIn = encoded(FECEncoder(d, p), [b"lead"] * (2 * d))  # seqids 0 to 2n - 1: enough to learn from
    for number, group in enumerate(groups):
        for lost in combinations(range(n), p):
            decoder = FECDecoder(Counters())
            decoded(decoder, leadIn)
            arriving = [renumbered(shard, 2 * n + index) for index, shard in enumerate(group) if index not in lost]
            _, recovered = decoded(decoder, arriving)
            assert recovered == carried([group[index] for index in lost]), (number, lost)


def renumbered(shard: bytes, seqid: int) -> bytes:
    return seqid.to_bytes(4, "little") + shard[4:]


@pytest.mark.parametrize("name", READABLE)
def test_a_peers_datagrams_without_fec_pass_untouched(name):
    d, _, datagrams = opened(name, "up")
    plain = carried(datagrams) if d else datagrams
    assert decoded(FECDecoder(Counters()), plain) == (plain, [])
    assert [payloadStart(datagram, 0, len(datagram)) for datagram in plain] == [0] * len(plain)
