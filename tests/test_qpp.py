"""QPP as Go peers do it: the pads of a key, and streams through them however they are cut."""

from __future__ import annotations

import hashlib
import hmac
import random
import tracemalloc
from functools import lru_cache
from itertools import islice

import pytest
import vectorfiles
from hypothesis import given, settings
from hypothesis import strategies as st
from plainxoshiro import oneByOne
from qpptraffic import CAPTURED, captured, padsOfVector, written
from vectorstreams import DIRECTIONS, isPayload

from kcpstack.kernels import qpp
from kcpstack.kernels.qpp import BLOCK_BYTES, PADS_MAX, SHARED_BLOCKS, Pads, firstState

DEFAULT_KEY = b"it's a secrect"
LONG_KEY = bytes(range(100))
SHARED = SHARED_BLOCKS * BLOCK_BYTES
padsOf = lru_cache(maxsize=None)(Pads)

KEYS = st.sampled_from((DEFAULT_KEY, b"", b"x", b"y" * 31, b"z" * 32, LONG_KEY))
COUNTS = st.sampled_from((1, 2, 60, 61, 256, 257))


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


# ------------------------------------------------------------------ what is known of the default key


def test_the_pads_of_the_default_key():
    permutations = padsOf(DEFAULT_KEY, 61).permutations
    assert permutations.shape == (61, 256)
    assert permutations[0, :8].tobytes().hex() == "1a994414e7fa53e9"
    assert permutations[1, :8].tobytes().hex() == "44427fde6c153095"
    digest = hashlib.sha256(permutations.tobytes()).hexdigest()
    assert digest == "a05e272c50b0ff3abedf425d09dcc06c43d2f901bbdd69c0e1dec3081d3b68d8"


def test_the_generator_of_the_default_key():
    state = firstState(DEFAULT_KEY)
    assert state.hex() == "cb8e6ef319b8304e8c9e1745d3953ad0b3224595367f9c0c2b571fd7c1f390fc"
    words = list(islice(oneByOne(state), 3))
    assert words == [0x262B1192936F4E48, 0x364B2918CA7A75DE, 0x180C37BBCDA6346E]
    assert [(word & 0xFFFF) % 61 for word in words] == [32, 40, 2]


# ------------------------------------------------------------------ what Go peers sent


def test_a_short_and_a_long_key_were_captured():
    assert {direction for _, direction in CAPTURED} == set(DIRECTIONS)
    assert {len(vectorfiles.load(name)["key"].encode()) >= 32 for name, _ in CAPTURED} == {False, True}


@pytest.mark.option("QPP", "QPPCount")
@pytest.mark.parametrize(("name", "direction"), CAPTURED)
def test_what_go_peers_sent_comes_back(name, direction):
    decryptor = padsOfVector(name).decryptor()
    payload = b"".join(decryptor.crypt(piece) for piece in captured(name, direction))
    assert payload == written(direction)
    assert isPayload(name, direction, payload)


@pytest.mark.option("QPP", "QPPCount")
@pytest.mark.parametrize(("name", "direction"), CAPTURED)
def test_we_send_exactly_what_go_peers_sent(name, direction):
    assert padsOfVector(name).encryptor().crypt(written(direction)) == b"".join(captured(name, direction))


# ------------------------------------------------------------------ pads


def plainPad(key, number):
    """A pad made byte by byte as the protocol page has it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def derived(secret, salt, iterations):
        return hashlib.pbkdf2_hmac("sha1", secret, salt, iterations, 32)

    seedSalt = b"___QUANTUM_PERMUTATION_PAD_SEED_DERIVE___"
    shuffleSalt = b"___QUANTUM_PERMUTATION_PAD_SHUFFLE_SALT___"
    base = key if len(key) >= 32 else derived(key, seedSalt, 128)
    chunks = [
        derived(bytes(base[(32 * i + k) % len(base)] for k in range(32)), seedSalt, 1024) for i in range(7)
    ]
    ciphers = [Cipher(algorithms.AES(derived(c, shuffleSalt, 128)), modes.ECB()).encryptor() for c in chunks]
    secret = hmac.digest(chunks[number % 7], f"QPP_{number:b}".encode(), "sha256")
    pad = list(range(256))
    for i in range(255, 0, -1):
        for cipher in ciphers:
            secret = cipher.update(secret)
        j = int.from_bytes(secret, "big") % (i + 1)
        pad[i], pad[j] = pad[j], pad[i]
    return pad


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 32, noise(45), LONG_KEY, noise(1000)], ids=len)
def test_every_pad_is_the_one_made_byte_by_byte(key):
    permutations = padsOf(key, 61).permutations
    for number in (0, 1, 7, 60):
        assert permutations[number].tolist() == plainPad(key, number)


@given(KEYS, COUNTS)
@settings(max_examples=20, deadline=None)
def test_pads_are_permutations_and_their_inverses_undo_them(key, count):
    pads = padsOf(key, count)
    assert len(pads.permutations) == len(pads.inverses) == count
    everyByte = list(range(256))
    for permutation, inverse in zip(pads.permutations, pads.inverses):
        assert sorted(permutation.tolist()) == everyByte
        assert inverse[permutation].tolist() == everyByte


@pytest.mark.parametrize("count", [61, 511, 512, 513])
def test_a_pad_does_not_depend_on_how_many_there_are(count):
    some, more = Pads(DEFAULT_KEY, count), padsOf(DEFAULT_KEY, 1100)
    assert some.permutations.tolist() == more.permutations[:count].tolist()
    assert some.inverses.tolist() == more.inverses[:count].tolist()


def test_a_pad_beyond_the_first_group_is_right_as_well():
    assert padsOf(DEFAULT_KEY, 1100).permutations[1099].tolist() == plainPad(DEFAULT_KEY, 1099)


@pytest.mark.parametrize("count", [0, -1, PADS_MAX + 1])
def test_a_count_that_cannot_be_is_refused(count):
    with pytest.raises(ValueError, match="pads"):
        Pads(DEFAULT_KEY, count)


# ------------------------------------------------------------------ streams


def sealedPlainly(key, pads, plain):
    """What ``plain`` becomes, byte by byte."""
    words = oneByOne(firstState(key))
    sealed = bytearray()
    for at in range(0, len(plain), 8):
        word = next(words)
        pad = pads.permutations[(word & 0xFFFF) % len(pads.permutations)]
        sealed += bytes(pad[byte ^ word >> 8 * k & 255] for k, byte in enumerate(plain[at : at + 8]))
    return bytes(sealed)


@given(KEYS, COUNTS, st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_a_stream_is_sealed_as_byte_by_byte(key, count, plain):
    pads = padsOf(key, count)
    assert pads.encryptor().crypt(plain) == sealedPlainly(key, pads, plain)


def test_the_largest_count_uses_all_16_bits():
    pads = Pads(DEFAULT_KEY, PADS_MAX)
    plain = noise(1000)
    sealed = pads.encryptor().crypt(plain)
    assert sealed == sealedPlainly(DEFAULT_KEY, pads, plain)
    assert pads.decryptor().crypt(sealed) == plain


SIZES = (0, 1, 2, 7, 8, 9, 1000, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 3)
CUTS = st.lists(st.sampled_from(SIZES), min_size=1)


def inPieces(direction, data, sizes):
    pieces, at = [], 0
    for size in sizes:
        pieces.append(direction.crypt(data[at : at + size]))
        at += size
    pieces.append(direction.crypt(data[at:]))
    return b"".join(pieces)


@given(COUNTS, CUTS, CUTS)
@settings(max_examples=40, deadline=None)
def test_a_stream_comes_back_wherever_it_is_cut(count, writes, reads):
    pads = padsOf(DEFAULT_KEY, count)
    plain = noise(3 * BLOCK_BYTES + 5)
    sealed = pads.encryptor().crypt(plain)
    assert inPieces(pads.encryptor(), plain, writes) == sealed
    assert inPieces(pads.decryptor(), sealed, reads) == plain


@pytest.mark.parametrize("count", [61, 256, 257])
def test_blocks_are_sealed_as_byte_by_byte_and_so_is_what_lies_across_them(count):
    pads = padsOf(DEFAULT_KEY, count)
    plain = noise(2 * BLOCK_BYTES + 11)
    assert pads.encryptor().crypt(plain) == sealedPlainly(DEFAULT_KEY, pads, plain)


def test_what_is_beyond_the_shared_blocks_is_the_same_sequence(monkeypatch):
    pads = padsOf(DEFAULT_KEY, 61)
    plain = noise(SHARED + 2 * BLOCK_BYTES + 11)
    sealed = pads.encryptor().crypt(plain)
    assert pads.decryptor().crypt(sealed) == plain
    monkeypatch.setattr(qpp, "SHARED_BLOCKS", SHARED_BLOCKS + 10)
    assert Pads(DEFAULT_KEY, 61).encryptor().crypt(plain) == sealed


def test_a_stream_that_goes_far_does_not_disturb_the_others():
    pads = Pads(DEFAULT_KEY, 3)
    plain = noise(SHARED + 3 * BLOCK_BYTES)
    ahead, behind = pads.encryptor(), pads.encryptor()
    sealed = ahead.crypt(plain)
    assert behind.crypt(plain[:10]) + behind.crypt(plain[10:]) == sealed
    assert pads.encryptor().crypt(plain[: -BLOCK_BYTES]) == sealed[: -BLOCK_BYTES]


def test_all_directions_begin_alike():
    pads = padsOf(DEFAULT_KEY, 61)
    plain = noise(1000)
    first, second = pads.encryptor(), pads.encryptor()
    assert first.crypt(plain) == second.crypt(plain)
    assert first.crypt(plain) == second.crypt(plain)


def test_memory_does_not_grow_with_what_streams_carry():
    pads = Pads(DEFAULT_KEY, 61)
    piece = bytes(BLOCK_BYTES)
    tracemalloc.start()
    try:
        encryptor = pads.encryptor()
        for _ in range(3 * SHARED_BLOCKS):
            encryptor.crypt(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * SHARED + 20 * BLOCK_BYTES


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_are_taken_and_left_as_they_are(kind):
    pads = padsOf(DEFAULT_KEY, 61)
    plain = noise(BLOCK_BYTES + 100)
    given_ = kind(plain)
    sealed = pads.encryptor().crypt(given_)
    assert type(sealed) is bytes
    assert pads.decryptor().crypt(kind(sealed)) == plain == bytes(given_)
