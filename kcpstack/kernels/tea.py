"""TEA and XTEA (Wheeler and Needham, 1994 and 1997) on many blocks at once.

A block is two big-endian words of 32 bits.  ``tea`` and ``xtea`` are written with operators that
mean the same for three kinds of numbers, and so are all there is to either cipher:

- ints, for one block;
- numpy arrays of uint32, for thousands of blocks: what decrypting CFB has;
- ints with a block in each *lane* of 48 bits, for a few dozen blocks: what encrypting CFB has, which must do
  the blocks of a datagram one after another and can only do those of many datagrams side by side.
  An operation on such an int of 64 lanes takes a quarter of what numpy needs to begin one.

Why lanes of 48 bits do not disturb each other: a word takes bits 0 to 31.  What shifts left and adds push
beyond ends at bit 37.  Shifting right by 5 lets the lane above drop 5 bits into bits 43 to 47, where no
carry arrives.  The mask at the end of each round removes both.
"""

from __future__ import annotations

import struct
from typing import Protocol, TypeVar

import numpy as np

__all__ = ["BLOCK_LENGTH", "TEACipher", "XTEACipher", "tea", "teaConstants", "xtea", "xteaConstants"]

BLOCK_LENGTH = 8
DELTA = 0x9E3779B9
WORD = 0xFFFFFFFF
LANE_BYTES = 6
MOST_LANES = 64  # ints of more than 512 bytes are past Python's own, fast allocator
CHUNK = 8192  # blocks for numpy at a time: its arrays then stay in the fastest caches
_KEY = struct.Struct(">4I")

Words = TypeVar("Words", int, np.ndarray)  # a word of each block


def teaConstants(key: bytes, cycles: int) -> list[int]:
    """Return what ``tea`` needs of a key of 16 bytes: its four words, then a sum for each cycle."""
    return [*_KEY.unpack(key), *(DELTA * n & WORD for n in range(1, cycles + 1))]


def tea(v0: Words, v1: Words, constants: list[int], mask: int) -> tuple[Words, Words]:
    """Encrypt the words ``v0`` and ``v1`` of each block; ``mask`` keeps 32 bits of each lane."""
    k0, k1, k2, k3 = constants[:4]
    for total in constants[4:]:
        v0 = v0 + (((v1 << 4) + k0) ^ (v1 + total) ^ ((v1 >> 5) + k1)) & mask
        v1 = v1 + (((v0 << 4) + k2) ^ (v0 + total) ^ ((v0 >> 5) + k3)) & mask
    return v0, v1


def xteaConstants(key: bytes, cycles: int) -> list[int]:
    """Return what ``xtea`` needs of a key of 16 bytes: two words for each cycle."""
    words = _KEY.unpack(key)
    constants = []
    for n in range(cycles):
        before, after = DELTA * n & WORD, DELTA * (n + 1) & WORD
        constants.append(before + words[before & 3] & WORD)
        constants.append(after + words[after >> 11 & 3] & WORD)
    return constants


def xtea(v0: Words, v1: Words, constants: list[int], mask: int) -> tuple[Words, Words]:
    """Encrypt the words ``v0`` and ``v1`` of each block; ``mask`` keeps 32 bits of each lane."""
    pairs = iter(constants)
    for even, odd in zip(pairs, pairs):
        v0 = v0 + ((((v1 << 4) ^ (v1 >> 5)) + v1) ^ even) & mask
        v1 = v1 + ((((v0 << 4) ^ (v0 >> 5)) + v0) ^ odd) & mask
    return v0, v1


class _Rounds(Protocol):
    """``tea`` or ``xtea``."""

    def __call__(self, v0: Words, v1: Words, constants: list[int], mask: int) -> tuple[Words, Words]: ...


class _VectorCipher:
    """One of the two with a key, as kcpstack.ciphers.columns uses block ciphers."""

    blockLength = BLOCK_LENGTH
    sideBySide = MOST_LANES

    def __init__(self, rounds: _Rounds, constants: list[int]) -> None:
        self._rounds = rounds
        self._constants = constants

    def encryptBlocks(self, blocks: np.ndarray) -> np.ndarray:
        """Encrypt blocks, each by itself: a uint8 array of shape (n, 8) to another."""
        words = blocks.view(">u4").astype(np.uint32)
        for first in range(0, len(words), CHUNK):
            chunk = words[first : first + CHUNK]
            v0, v1 = np.ascontiguousarray(chunk.T)
            chunk[:, 0], chunk[:, 1] = self._rounds(v0, v1, self._constants, WORD)
        return words.astype(">u4").view(np.uint8)

    def encryptColumns(self, columns: np.ndarray, iv: bytes) -> np.ndarray:
        """Encrypt datagrams in CFB mode, each from ``iv``, side by side.

        ``columns`` is a uint8 array of shape (blocks of a datagram, datagrams, 8); so is the result.
        """
        depth, count, _ = columns.shape
        ones = int.from_bytes((1).to_bytes(LANE_BYTES, "little") * count, "little")
        constants = [constant * ones for constant in self._constants]
        mask = WORD * ones
        length = LANE_BYTES * count
        lanes = np.zeros((depth, 2, count, LANE_BYTES), np.uint8)
        lanes[..., :4] = columns.reshape(depth, count, 2, 4).swapaxes(1, 2)[..., ::-1]
        plain = lanes.data.cast("B")
        encrypted = []
        c0, c1 = (word * ones for word in struct.unpack(">2I", iv))
        for position in range(0, 2 * length * depth, 2 * length):
            v0, v1 = self._rounds(c0, c1, constants, mask)
            middle = position + length
            c0 = v0 ^ int.from_bytes(plain[position:middle], "little")
            c1 = v1 ^ int.from_bytes(plain[middle : middle + length], "little")
            encrypted.append(c0.to_bytes(length, "little"))
            encrypted.append(c1.to_bytes(length, "little"))
        lanes = np.frombuffer(b"".join(encrypted), np.uint8).reshape(lanes.shape)
        return lanes[..., 3::-1].swapaxes(1, 2).reshape(columns.shape)


class TEACipher(_VectorCipher):
    """TEA with a key of 16 bytes."""

    def __init__(self, key: bytes, cycles: int) -> None:
        super().__init__(tea, teaConstants(key, cycles))


class XTEACipher(_VectorCipher):
    """XTEA with a key of 16 bytes."""

    def __init__(self, key: bytes, cycles: int) -> None:
        super().__init__(xtea, xteaConstants(key, cycles))
