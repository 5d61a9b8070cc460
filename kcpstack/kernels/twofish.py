"""Twofish (Schneier and others, 1998) with a key of 32 bytes, on many blocks at once.

Names are those of the paper: q0 and q1 are its fixed permutations, h its keyed function, g the h with the
S-box keys, K its 40 subkeys; RS and MDS are its matrices.

A round spends its time in g, which is a lookup for each byte and a matrix.  Here the two words that
go through g are looked up 16 bits at a time, in tables that have the matrix in them and, for the
second word, its rotation by 8.  That leaves a dozen numpy operations a round, whatever the number of blocks.

The tables take 1 MiB a key.  Lookups take time that depends on the key and the data, as in any Twofish
made of tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["BLOCK_LENGTH", "KEY_LENGTH", "TwofishCipher"]

BLOCK_LENGTH = 16
KEY_LENGTH = 32
ROUNDS = 16
WORD = 0xFFFFFFFF
CHUNK = 4096  # blocks at a time: what a round needs then stays in the caches

# Little endian, as Twofish is: the halves of a word are told apart by their place.
HALVES, WORDS = np.dtype("<u2"), np.dtype("<u4")

_Q_NIBBLES = (  # of q0 and of q1, as hexadecimal digits: t0, t1, t2, t3
    ("817D6F320B59ECA4", "ECB81235F4A6709D", "BA5E6D90C8F32471", "D7F4126E9B3085CA"),
    ("28BDF76E31940AC5", "1E2B4C376DA5F908", "4C75169A0ED82B3F", "B951C3DE647F208A"),
)
_MDS = (
    (0x01, 0xEF, 0x5B, 0x5B),
    (0x5B, 0xEF, 0xEF, 0x01),
    (0xEF, 0x5B, 0x01, 0xEF),
    (0xEF, 0x01, 0xEF, 0x5B),
)
_MDS_POLYNOMIAL = 0x169
_RS = (
    (0x01, 0xA4, 0x55, 0x87, 0x5A, 0x58, 0xDB, 0x9E),
    (0xA4, 0x56, 0x82, 0xF3, 0x1E, 0xC6, 0x68, 0xE5),
    (0x02, 0xA1, 0xFC, 0xC1, 0x47, 0xAE, 0x3D, 0x19),
    (0xA4, 0x55, 0x87, 0x5A, 0x58, 0xDB, 0x9E, 0x03),
)
_RS_POLYNOMIAL = 0x14D
# Which q a byte of a word goes through, column by column; a key byte is added after each but the last.
_Q_ORDER = ((1, 1, 0, 0, 1), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1), (1, 0, 1, 1, 0))


# ------------------------------------------------------------------ the key


def _q(nibbles: Sequence[str]) -> bytes:
    """One of the permutations of a byte, from its four of a nibble."""
    t0, t1, t2, t3 = ([int(digit, 16) for digit in table] for table in nibbles)
    result = []
    for x in range(256):
        a, b = x >> 4, x & 15
        a, b = t0[a ^ b], t1[a ^ _rotatedNibble(b) ^ a << 3 & 15]
        a, b = t2[a ^ b], t3[a ^ _rotatedNibble(b) ^ a << 3 & 15]
        result.append(b << 4 | a)
    return bytes(result)


def _rotatedNibble(nibble: int) -> int:
    return nibble >> 1 | (nibble & 1) << 3


def _product(a: int, b: int, polynomial: int) -> int:
    """a times b in GF(2^8)."""
    result = 0
    while b:
        if b & 1:
            result ^= a
        a <<= 1
        if a & 0x100:
            a ^= polynomial
        b >>= 1
    return result


_Q = tuple(_q(nibbles) for nibbles in _Q_NIBBLES)


def _columns(keys: Sequence[bytes]) -> list[list[int]]:
    """h with the four words ``keys`` (the first is used last), as four tables: what each byte of the
    word, the lowest first, adds to the result.
    """
    tables = []
    for place, order in enumerate(_Q_ORDER):
        column = bytes(range(256))
        for q, key in zip(order, (*reversed(keys), b"\0\0\0\0")):
            column = bytes(_Q[q][value] ^ key[place] for value in column)
        factors = [
            sum(_product(value, _MDS[row][place], _MDS_POLYNOMIAL) << 8 * row for row in range(4))
            for value in range(256)
        ]
        tables.append([factors[value] for value in column])
    return tables


def _subkeys(key: bytes) -> list[int]:
    """K, the 40 words that are added in the rounds and around them."""
    words = [key[i : i + 4] for i in range(0, KEY_LENGTH, 4)]
    even, odd = _columns(words[0::2]), _columns(words[1::2])
    subkeys = []
    for i in range(20):
        a = even[0][2 * i] ^ even[1][2 * i] ^ even[2][2 * i] ^ even[3][2 * i]
        b = odd[0][2 * i + 1] ^ odd[1][2 * i + 1] ^ odd[2][2 * i + 1] ^ odd[3][2 * i + 1]
        b = (b << 8 | b >> 24) & WORD
        doubled = a + 2 * b & WORD
        subkeys += [a + b & WORD, (doubled << 9 | doubled >> 23) & WORD]
    return subkeys


def _substitution(key: bytes) -> list[bytes]:
    """The keys of the S-boxes, in the order in which h takes its words."""
    words = []
    for i in range(0, KEY_LENGTH, 8):
        word = bytearray(4)
        for row in range(4):
            for factor, value in zip(_RS[row], key[i : i + 8]):
                word[row] ^= _product(value, factor, _RS_POLYNOMIAL)
        words.append(bytes(word))
    return words[::-1]


def _roundTables(key: bytes) -> np.ndarray:
    """The four tables of the docstring in one array: for R0 its lower and upper half, then for R1."""
    s0, s1, s2, s3 = (np.array(table, WORDS) for table in _columns(_substitution(key)))
    pairs = ((s0, s1), (s2, s3), (s1, s2), (s3, s0))
    return np.concatenate([(high[:, None] ^ low).reshape(-1) for low, high in pairs])


# ------------------------------------------------------------------ the rounds


class TwofishCipher:
    """Twofish with a key of 32 bytes, as kcpstack.ciphers.columns uses block ciphers."""

    blockLength = BLOCK_LENGTH
    sideBySide = CHUNK

    def __init__(self, key: bytes) -> None:
        subkeys = np.array(_subkeys(key), WORDS)
        self._before, self._after = subkeys[:4], subkeys[4:8]
        self._rounds = subkeys[8:].reshape(ROUNDS, 2)
        self._tables = _roundTables(key)

    def encryptBlocks(self, blocks: np.ndarray) -> np.ndarray:
        """Encrypt blocks, each by itself: a uint8 array of shape (n, 16) to another."""
        words = blocks.view(WORDS).copy()
        for first in range(0, len(words), CHUNK):
            chunk = words[first : first + CHUNK]
            chunk[:] = _Rounds(self, len(chunk)).encrypt(chunk.T).T
        return words.view(np.uint8)

    def encryptColumns(self, columns: np.ndarray, iv: bytes) -> np.ndarray:
        """Encrypt datagrams in CFB mode, each from ``iv``, side by side.

        ``columns`` is a uint8 array of shape (blocks of a datagram, datagrams, 16); so is the result.
        """
        words = columns.view(WORDS).swapaxes(1, 2).copy("C")
        rounds = _Rounds(self, words.shape[2])
        previous = np.frombuffer(iv, WORDS)[:, None]
        for column in words:
            column ^= rounds.encrypt(previous)
            previous = column
        return words.swapaxes(1, 2).copy("C").view(np.uint8)


class _Rounds:
    """The rounds for ``count`` blocks, with the arrays that they work in made beforehand.

    Their state has four rows, a word of every block in each, and is worked on as one long row wherever
    that can be: for a few dozen blocks numpy takes three times as long to set out on two dimensions,
    and a view takes half as long to make as an operation.
    """

    def __init__(self, cipher: TwofishCipher, count: int) -> None:
        self._tables = cipher._tables
        self._before, self._after = cipher._before[:, None], cipher._after[:, None]
        self._state = np.empty((4, count), WORDS)
        self._turned = np.empty(4 * count, WORDS)
        self._offsets = np.tile(np.array([(0, 1), (2, 3)], np.intp) << 16, (1, count)).reshape(-1)
        self._index = np.empty(4 * count, np.intp)
        self._found = np.empty(4 * count, WORDS)
        self._g = np.empty(2 * count, WORDS)
        self._f = np.empty(2 * count, WORDS)
        # By turns the upper half goes through g and changes the lower one, and the other way about.
        # A row that was changed is then rotated right by 1, and one that was looked up left by 1, ready
        # for its own change; R0 to R3 are rows 0 to 3 and 2, 3, 0, 1 by turns.
        upper, lower = self._state[:2].reshape(-1), self._state[2:].reshape(-1)
        even = (upper.view(HALVES), lower, *_rotation(count, left=1, right=2))
        odd = (lower.view(HALVES), upper, *_rotation(count, left=3, right=0))
        self._turns = [
            (np.repeat(keys, count), *(odd if number & 1 else even))
            for number, keys in enumerate(cipher._rounds)
        ]

    def encrypt(self, blocks: np.ndarray) -> np.ndarray:
        """Return ``blocks`` (uint32, shape (4, count) or (4, 1)) encrypted, in an array of its own."""
        state, turned = self._state, self._turned
        offsets, index, found = self._offsets, self._index, self._found
        add, xor, take = np.add, np.bitwise_xor, self._tables.take
        g, f = self._g, self._f
        count = len(g) // 2
        low, high, t0, t1, f0, f1 = found[0::2], found[1::2], g[:count], g[count:], f[:count], f[count:]
        row = state.reshape(-1)
        last = state[3]
        xor(blocks, self._before, state)
        last[:] = last << 1 | last >> 31
        for keys, inputs, outputs, left, right in self._turns:
            np.copyto(index, inputs)
            add(index, offsets, index)
            take(index, out=found, mode="clip")  # "raise" would copy it
            xor(low, high, g)
            add(t0, t1, f0)
            add(f0, t1, f1)
            add(f, keys, f)
            xor(outputs, f, outputs)
            np.right_shift(row, right, turned)
            np.left_shift(row, left, row)
            np.bitwise_or(row, turned, row)
        last[:] = last >> 1 | last << 31
        return state[OUTPUT_ORDER] ^ self._after


def _rotation(count: int, left: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """What to shift each word left and right by, to rotate one row left by 1 and another one right.

    The OR of a word with itself, shifted by nothing, leaves the other rows as they are.
    """
    lefts, rights = np.zeros((2, 4, count), WORDS)
    lefts[left], rights[left] = 1, 31
    lefts[right], rights[right] = 31, 1
    return lefts.reshape(-1), rights.reshape(-1)


OUTPUT_ORDER = [2, 3, 0, 1]  # the last round's swap is undone
