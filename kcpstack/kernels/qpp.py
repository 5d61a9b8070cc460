"""QPP, the Quantum Permutation Pad, as kcptun applies it to a stream (docs/qpp).

A *pad* is a permutation of the 256 bytes, and a key gives ``count`` of them.  A generator (xoshiro256**),
whose first state comes from the key too, gives a word for every 8 bytes of a stream.  The word r
chooses the pad, number (r & 0xffff) mod count, and its byte k is the mask x of byte k of the eight::

    sealed = pad[plain ^ x]              plain = inverse[sealed] ^ x

So all that a byte of a stream needs, but for its own value, is one number, ``pad * 256 + x``: a
*selector*.  XORed with the byte it is an index into all pads laid end to end.  Every stream starts from the
same state, in both directions, and so needs the same selectors: those of the first SHARED_BLOCKS
blocks are made once, when first wanted, and shared.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from kcpstack.batch import BytesLike
from kcpstack.kernels.xoshiro import BLOCK_WORDS, Generator

__all__ = ["BLOCK_BYTES", "PADS_MAX", "SHARED_BLOCKS", "Decryptor", "Encryptor", "Pads", "firstState"]

PADS_MAX = 65536  # what 16 bits can choose from
BLOCK_BYTES = 8 * BLOCK_WORDS  # of a stream, for which selectors are made together: 128 KiB
SHARED_BLOCKS = 32  # 4 MiB of a stream, more than most ever carry; 8 MiB of selectors, 16 above 256 pads

CHUNKS = 7  # of the key, and as many AES keys that shuffle each pad
SEED_SALT = b"___QUANTUM_PERMUTATION_PAD_SEED_DERIVE___"
SHUFFLE_SALT = b"___QUANTUM_PERMUTATION_PAD_SHUFFLE_SALT___"
STATE_SALT = b"___QUANTUM_PERMUTATION_PAD_PRNG_SALT___"
STATE_MESSAGE = b"PERMUTATION_MATRIX_SELECTOR"
SECRET = 32  # bytes of a chunk, of an AES key, of what a pad's swaps are drawn from, of the first state
GROUP = 512  # pads that are made together: enough that the price of a call does not show


class Pads:
    """The pads of one key, and all that its streams share: made once for a process.

    That takes 10 to 15 ms for 61 pads, 1.5 s for PADS_MAX.  Kept are 512 bytes a pad, and the shared
    selectors as far as the longest stream has come."""

    def __init__(self, key: bytes, count: int) -> None:
        """``key`` is what the user chose, as bytes of any length.  Raises ValueError where ``count``
        is not from 1 to PADS_MAX."""
        if not 1 <= count <= PADS_MAX:
            raise ValueError(f"{count} pads: from 1 to {PADS_MAX} are possible")
        chunks = _chunksOf(key)
        self.permutations = np.empty((count, 256), np.uint8)
        self.inverses = np.empty_like(self.permutations)
        for first in range(0, count, GROUP):
            group = self.permutations[first : first + GROUP]
            group[:] = _shuffled(chunks, first, len(group))
            self.inverses[first : first + GROUP] = _inverted(group)
        self._selectors = _Selectors(firstState(key), count)

    def encryptor(self) -> Encryptor:
        """Return the sending end of a new stream's direction."""
        return Encryptor(self.permutations, self._selectors.blocks())

    def decryptor(self) -> Decryptor:
        """Return the receiving end of a new stream's direction."""
        return Decryptor(self.inverses, self._selectors.blocks())


# ------------------------------------------------------------------ streams


class _Direction:
    """One direction of one stream, from its first byte on; calls carry on where the last one ended."""

    __slots__ = ("_table", "_blocks", "_block", "_position")

    def __init__(self, table: np.ndarray, blocks: Iterator[np.ndarray]) -> None:
        """``table`` has a row for each pad; ``blocks`` gives the selectors of BLOCK_BYTES each time."""
        self._table = table.reshape(-1)
        self._blocks = blocks
        self._block = next(blocks)
        self._position = 0  # in the block

    def crypt(self, data: BytesLike) -> bytes:
        """Return the other form of ``data``, as long as it is, possibly empty.

        Costs 2 us and 1 ns a byte or so, 3 beyond what is shared (docs/qpp)."""
        size = len(data)
        start = self._position
        if not size:
            return b""
        if start + size <= BLOCK_BYTES:
            self._position = start + size
            selectors = self._block[start : start + size]
            return self._substituted(selectors, np.frombuffer(data, np.uint8)).tobytes()
        return b"".join(self._pieces(memoryview(data)))

    def _pieces(self, data: memoryview) -> Iterator[bytes]:
        """``data`` in pieces that lie in one block each."""
        while data:
            if self._position == BLOCK_BYTES:
                self._block = next(self._blocks)
                self._position = 0
            room = BLOCK_BYTES - self._position
            yield self.crypt(data[:room])
            data = data[room:]

    def _substituted(self, selectors: np.ndarray, values: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Encryptor(_Direction):
    """What is written becomes what is sent."""

    __slots__ = ()

    def _substituted(self, selectors: np.ndarray, values: np.ndarray) -> np.ndarray:
        sealed: np.ndarray = self._table.take(selectors ^ values)
        return sealed


class Decryptor(_Direction):
    """What was sent becomes what was written."""

    __slots__ = ()

    def _substituted(self, selectors: np.ndarray, values: np.ndarray) -> np.ndarray:
        masks = selectors.astype(np.uint8)
        plain: np.ndarray = self._table.take(selectors ^ (values ^ masks))
        plain ^= masks
        return plain


class _Selectors:
    """The selectors that every direction goes through, in blocks of BLOCK_BYTES.

    They are numbers of 16 bits where those can tell ``count`` pads apart, else of 32."""

    def __init__(self, state: bytes, count: int) -> None:
        self._generator = Generator(state)  # where the shared blocks end
        self._shared: list[np.ndarray] = []
        self._count = count
        self._kind = np.uint16 if count <= 256 else np.uint32

    def blocks(self) -> Iterator[np.ndarray]:
        """All blocks from the first on, without end.  Who goes beyond the shared ones gets blocks,
        and a generator of 32 KiB, of its own."""
        for number in range(SHARED_BLOCKS):
            if number == len(self._shared):
                self._shared.append(self._made(self._generator))
            yield self._shared[number]
        generator = self._generator.copy()
        while True:
            yield self._made(generator)

    def _made(self, generator: Generator) -> np.ndarray:
        words = generator.nextBlock()
        lowest = words.view("<u2")[::4].astype(np.uint32)
        chosen = (lowest % np.uint32(self._count) << np.uint32(8)).astype(self._kind)
        return np.repeat(chosen, 8) | words.view(np.uint8)


# ------------------------------------------------------------------ what the key gives


def firstState(key: bytes) -> bytes:
    """Return the state (32 bytes) in which the generator of every direction begins."""
    return _derived(hmac.digest(key, STATE_MESSAGE, "sha256"), STATE_SALT, 128)


def _derived(secret: bytes, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", secret, salt, iterations, SECRET)


def _chunksOf(key: bytes) -> list[bytes]:
    """The seven secrets that pads and shuffling keys are made from."""
    base = key if len(key) >= SECRET else _derived(key, SEED_SALT, 128)
    around = base * (1 + CHUNKS * SECRET // len(base))
    return [_derived(around[SECRET * i : SECRET * (i + 1)], SEED_SALT, 1024) for i in range(CHUNKS)]


def _shuffled(chunks: list[bytes], first: int, count: int) -> np.ndarray:
    """``count`` pads from number ``first`` on, a row each: the identity after 255 swaps."""
    columns = np.repeat(np.arange(256, dtype=np.uint8)[:, None], count, axis=1)
    pads = np.arange(count)
    for i, partners in zip(range(255, 0, -1), _partners(chunks, first, count)):
        swapped = columns[i].copy()
        columns[i] = columns[partners, pads]
        columns[partners, pads] = swapped
    return columns.T


def _partners(chunks: list[bytes], first: int, count: int) -> Iterator[np.ndarray]:
    """For i = 255 down to 1 what place i of each pad is swapped with, one of 0 to i.

    It is drawn from 32 bytes for each pad, taken as one big-endian number modulo i + 1.  They go through
    AES under seven keys before each draw, those of all pads in one call."""
    keys = [_derived(chunk, SHUFFLE_SALT, 128) for chunk in chunks]
    ciphers = [Cipher(algorithms.AES(key), modes.ECB()).encryptor() for key in keys]
    secrets = b"".join(
        hmac.digest(chunks[n % CHUNKS], b"QPP_" + format(n, "b").encode(), "sha256")
        for n in range(first, first + count)
    )
    for i in range(255, 0, -1):
        for cipher in ciphers:
            secrets = cipher.update(secrets)
        weights = np.array([pow(65536, power, i + 1) for power in range(SECRET // 2 - 1, -1, -1)], np.uint32)
        digits = np.frombuffer(secrets, ">u2").reshape(-1, SECRET // 2)
        yield digits.astype(np.uint32) @ weights % np.uint32(i + 1)


def _inverted(permutations: np.ndarray) -> np.ndarray:
    inverses = np.empty_like(permutations)
    np.put_along_axis(inverses, permutations.astype(np.intp), np.arange(256, dtype=np.uint8)[None], axis=1)
    return inverses
