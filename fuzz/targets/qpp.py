"""Padded bytes of a stream: kcpstack/kernels/qpp.py, beside the formula of docs/qpp.rst byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from fuzz.records import Fields
from fuzz.vectors import INSIDE, stream
from kcpstack.kernels.qpp import BLOCK_BYTES, Pads, firstState
from kcpstack.kernels.xoshiro import Generator

KEYS = ((b"it's a secrect", 61), (b"k", 1), (bytes(range(40)), 3), (b"", 300))
MODELLED = 200  # bytes at the beginning


@cache
def padsOf(key: bytes, count: int) -> Pads:
    return Pads(key, count)


@cache
def wordsOf(key: bytes) -> list[int]:
    return [int(word) for word in Generator(firstState(key)).nextBlock()[: MODELLED // 8 + 1]]


def check(data: bytes) -> None:
    """What was padded comes out again, whatever the cuts; the first bytes are those of the formula."""
    fields = Fields(data)
    key, count = fields.pick(KEYS)
    pads = padsOf(key, count)
    skipped = fields.number(3) % (2 * BLOCK_BYTES) if fields.flag() else 0
    pieces = fields.pieces()
    plain = bytes(skipped) + b"".join(pieces)
    encryptor, decryptor = pads.encryptor(), pads.decryptor()
    sent = [encryptor.crypt(bytes(skipped)), *(encryptor.crypt(piece) for piece in pieces)]
    assert [len(piece) for piece in sent] == [skipped, *map(len, pieces)]
    sealed = b"".join(sent)
    middle = len(sealed) // 3
    assert decryptor.crypt(memoryview(sealed)[:middle]) + decryptor.crypt(sealed[middle:]) == plain
    assert pads.encryptor().crypt(plain) == sealed
    assert sealed[:MODELLED] == modelled(key, pads, plain[:MODELLED])


def modelled(key: bytes, pads: Pads, plain: bytes) -> bytes:
    sealed = bytearray()
    for position, byte in enumerate(plain):
        word = wordsOf(key)[position // 8]
        mask = word >> 8 * (position % 8) & 255
        sealed.append(int(pads.permutations[(word & 0xFFFF) % len(pads.permutations)][byte ^ mask]))
    return bytes(sealed)


def seeds() -> Iterator[bytes]:
    for number in range(len(KEYS)):
        yield bytes([number, 0]) + stream(INSIDE[0], "up")[:300]
        yield bytes([number, 1]) + (BLOCK_BYTES - 5).to_bytes(3, "little") + stream(INSIDE[0], "down")[:100]
