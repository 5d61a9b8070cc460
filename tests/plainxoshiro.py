"""xoshiro256** as the paper of its authors gives it, a word at a time."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["oneByOne"]

WORD = (1 << 64) - 1


def oneByOne(state: bytes) -> Iterator[int]:
    """Every word from ``state`` (four little-endian words) on."""
    s0, s1, s2, s3 = (int.from_bytes(state[at : at + 8], "little") for at in range(0, 32, 8))
    while True:
        yield rotated(s1 * 5 & WORD, 7) * 9 & WORD
        shifted = s1 << 17 & WORD
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= shifted
        s3 = rotated(s3, 45)


def rotated(word: int, bits: int) -> int:
    return (word << bits | word >> 64 - bits) & WORD
