"""Our own block ciphers: published answers, and a plain one-block version of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import plainciphers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcpstack.kernels.tea import CHUNK, TEACipher, XTEACipher
from kcpstack.kernels.twofish import TwofishCipher

ZERO = "00" * 16
COUNTING = "000102030405060708090a0b0c0d0e0f"
IV = bytes.fromhex("a7734f9c12ac1b01a415f2c1fc78e66b")

MAKERS: dict[str, tuple[int, Callable[[bytes], Any], Callable[[bytes, bytes], bytes]]] = {
    "tea": (16, lambda key: TEACipher(key, 8), lambda key, block: plainciphers.tea(key, block, 8)),
    "xtea": (16, lambda key: XTEACipher(key, 32), lambda key, block: plainciphers.xtea(key, block, 32)),
    "twofish": (32, TwofishCipher, plainciphers.twofish),
}


def blocks(data: bytes, length: int) -> Any:
    return np.frombuffer(data, np.uint8).reshape(-1, length)


def encrypted(cipher: Any, data: bytes) -> bytes:
    """``data``, whole blocks, each encrypted by itself."""
    return cipher.encryptBlocks(blocks(data, cipher.blockLength)).tobytes()


# ------------------------------------------------------------------ published answers


@pytest.mark.parametrize(
    "key,cycles,plain,cipher",
    [
        (ZERO, 32, "00" * 8, "41ea3a0a94baa940"),
        ("ff" * 16, 32, "ff" * 8, "319bbefb016abdb2"),
        (ZERO, 8, "00" * 8, "ed285da1455b33c1"),  # the cycles that kcptun has
    ],
)
def test_teaGivesTheKnownAnswers(key: str, cycles: int, plain: str, cipher: str) -> None:
    assert encrypted(TEACipher(bytes.fromhex(key), cycles), bytes.fromhex(plain)).hex() == cipher
    assert plainciphers.tea(bytes.fromhex(key), bytes.fromhex(plain), cycles).hex() == cipher


@pytest.mark.parametrize(
    "key,plain,cipher",
    [
        (COUNTING, b"ABCDEFGH", "497df3d072612cb5"),
        (COUNTING, b"AAAAAAAA", "e78f2d13744341d8"),
        (ZERO, b"ABCDEFGH", "a0390589f8b8efa5"),
        (ZERO, b"AAAAAAAA", "ed23375a821a8c2d"),
    ],
)
def test_xteaGivesTheKnownAnswers(key: str, plain: bytes, cipher: str) -> None:
    assert encrypted(XTEACipher(bytes.fromhex(key), 32), plain).hex() == cipher
    assert plainciphers.xtea(bytes.fromhex(key), plain, 32).hex() == cipher


@pytest.mark.parametrize(
    "key,plain,cipher",
    [
        (
            "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
            ZERO,
            "37527be0052334b89f0cfccae87cfa20",
        ),
        (ZERO * 2, ZERO, "57ff739d4dc92c1bd7fc01700cc8216f"),
    ],
)
def test_twofishGivesTheKnownAnswers(key: str, plain: str, cipher: str) -> None:
    assert encrypted(TwofishCipher(bytes.fromhex(key)), bytes.fromhex(plain)).hex() == cipher
    assert plainciphers.twofish(bytes.fromhex(key), bytes.fromhex(plain)).hex() == cipher


def test_twofishGivesTheLastAnswerOfThePapersTable() -> None:
    """Each plaintext is the answer before; each key is made of the two answers before that."""
    answers = [bytes(16)] * 3
    for _ in range(49):
        plain, keyFront, keyBack = answers[-1], answers[-2], answers[-3]
        answers.append(encrypted(TwofishCipher(keyFront + keyBack), plain))
    assert answers[3 + 1].hex() == "d43bb7556ea32e46f2a282b7d45b4e0d"
    assert answers[3 + 2].hex() == "90afe91bb288544f2c32dc239b2635e6"
    assert answers[-1].hex() == "37fe26ff1cf66175f5ddf4c33b97a205"


# ------------------------------------------------------------------ many blocks are so many single ones


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_blocksSideBySideAreEachEncryptedAlone(name: str, data: Any) -> None:
    keyLength, make, one = MAKERS[name]
    key = data.draw(st.binary(min_size=keyLength, max_size=keyLength))
    cipher = make(key)
    length = cipher.blockLength
    block = st.one_of(st.binary(min_size=length, max_size=length), st.sampled_from([b"\xff" * length]))
    plain = data.draw(st.lists(block, min_size=1, max_size=40))
    assert encrypted(cipher, b"".join(plain)) == b"".join(one(key, each) for each in plain)


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_columnsAreCFBOfEachDatagramAlone(name: str, data: Any) -> None:
    keyLength, make, one = MAKERS[name]
    key = data.draw(st.binary(min_size=keyLength, max_size=keyLength))
    cipher = make(key)
    length = cipher.blockLength
    depth, count = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 9))
    size = depth * count * length
    plain = data.draw(st.one_of(st.binary(min_size=size, max_size=size), st.just(b"\xff" * size)))
    columns = blocks(plain, length).reshape(depth, count, length)
    result = cipher.encryptColumns(columns, IV[:length])
    for number in range(count):
        previous = IV[:length]
        for level in range(depth):
            stream = one(key, previous)
            previous = bytes(a ^ b for a, b in zip(stream, columns[level, number].tobytes()))
            assert result[level, number].tobytes() == previous


@pytest.mark.parametrize("name", MAKERS)
def test_chunksMakeNoDifference(name: str) -> None:
    keyLength, make, one = MAKERS[name]
    key = bytes(range(keyLength))
    cipher = make(key)
    length = cipher.blockLength
    plain = b"".join(number.to_bytes(length, "big") for number in range(2 * CHUNK + 3))
    result = encrypted(cipher, plain)
    for number in (0, 1, CHUNK // 2 - 1, CHUNK // 2, CHUNK - 1, CHUNK, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 2):
        where = slice(number * length, (number + 1) * length)
        assert result[where] == one(key, plain[where])


@pytest.mark.parametrize("name", MAKERS)
def test_whatIsEncryptedIsLeftAsItWas(name: str) -> None:
    keyLength, make, _ = MAKERS[name]
    cipher = make(bytes(keyLength))
    data = blocks(bytes(range(96)), cipher.blockLength)
    cipher.encryptBlocks(data)  # an array over bytes: writing to it would raise
    cipher.encryptColumns(data.reshape(2, -1, cipher.blockLength), IV[: cipher.blockLength])
    assert data.tobytes() == bytes(range(96))
