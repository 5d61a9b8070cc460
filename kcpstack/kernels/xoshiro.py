"""xoshiro256** (Blackman and Vigna, 2018) in bulk: the same words as one after another, many at a time.

A step of the generator is a handful of shifts and XORs, each step needs the one before, and one step
at a time is all that plain Python can do.  But the steps are linear over GF(2).  So the state any number of
steps ahead is a 256 x 256 matrix of bits times the state now, and a run of words can be cut into
*lanes* that begin STEPS apart and go their STEPS side by side, as columns of numpy arrays::

    lane 0   word 0         word 1          ...    word STEPS - 1
    lane 1   word STEPS     word STEPS + 1  ...
    ...

All lanes together are a block; one more jump, of a block's length, takes each to its place in the next.
A word costs 10 ns or so in place of a microsecond.  Not a generator for secrets: see docs/qpp.
"""

from __future__ import annotations

import numpy as np

__all__ = ["BLOCK_WORDS", "STATE_LENGTH", "Generator"]

STATE_LENGTH = 32  # bytes: four words
LANES = 1024  # enough that numpy's price for a call does not show
STEPS = 16  # and few enough that a block is small: somebody has to keep it
BLOCK_WORDS = LANES * STEPS

WORD = np.dtype("<u8")
STATE_BITS = 8 * STATE_LENGTH


class Generator:
    """The words from ``state`` (STATE_LENGTH bytes, four little-endian words) on.

    Makes them BLOCK_WORDS at a time, in some hundred microseconds; to begin takes some milliseconds."""

    __slots__ = ("_lanes", "_jump")

    def __init__(self, state: bytes) -> None:
        """Raises ValueError where ``state`` has another length, or is all zero and so stays."""
        if len(state) != STATE_LENGTH or not any(state):
            raise ValueError(f"a state of xoshiro256** is {STATE_LENGTH} bytes, not all of them zero")
        self._lanes, self._jump = _spread(np.frombuffer(state, WORD))

    def nextBlock(self) -> np.ndarray:
        """Return the next BLOCK_WORDS words, an array of u64 that is the caller's."""
        rows = self._lanes.T.copy()
        words = _scrambled(_walk(rows, STEPS).T.reshape(-1))
        self._lanes = self._jump(self._lanes)
        return words

    def copy(self) -> Generator:
        """Return another that will make the same words from here."""
        twin = Generator.__new__(Generator)
        twin._lanes, twin._jump = self._lanes, self._jump
        return twin


def _walk(rows: np.ndarray, steps: int) -> np.ndarray:
    """Take ``steps`` steps with each column of ``rows`` (its four words), in place; return the second
    word of each before each step, of which the output is made."""
    _, s1, s2, s3 = rows
    low, high, crossed = rows[:2], rows[2:], rows[3:1:-1]
    shifted = np.empty_like(s1)
    seconds = np.empty((steps, rows.shape[1]), WORD)
    for second in seconds:
        second[:] = s1
        np.left_shift(s1, 17, out=shifted)
        high ^= low
        low ^= crossed
        s2 ^= shifted
        _rotate(s3, 45, shifted)
    return seconds


def _scrambled(words: np.ndarray) -> np.ndarray:
    """The output that belongs to second words of states, in place."""
    words *= 5
    _rotate(words, 7, np.empty_like(words))
    words *= 9
    return words


def _rotate(words: np.ndarray, bits: int, spare: np.ndarray) -> None:
    np.left_shift(words, bits, out=spare)
    words >>= 64 - bits
    words |= spare


# ------------------------------------------------------------------ jumps


class _Jump:
    """So many steps at once, for any number of states.

    ``images`` is the matrix: row i, four words, is where the state with only bit i set gets to.  What
    each value of each of the 32 bytes of a state adds to the result is looked up: 256 KiB."""

    def __init__(self, images: np.ndarray) -> None:
        self._adds = np.zeros((STATE_LENGTH, 256, 4), WORD)
        ofBits = images.reshape(STATE_LENGTH, 8, 4)
        for bit in range(8):
            self._adds[:, 1 << bit : 2 << bit] = self._adds[:, : 1 << bit] ^ ofBits[:, bit, None]

    def __call__(self, states: np.ndarray) -> np.ndarray:
        """Return where ``states`` (rows of four words) get to."""
        places = states.view(np.uint8).T.astype(np.intp)
        reached: np.ndarray = self._adds[0].take(places[0], axis=0)
        for adds, place in zip(self._adds[1:], places[1:]):
            reached ^= adds.take(place, axis=0)
        return reached


def _spread(state: np.ndarray) -> tuple[np.ndarray, _Jump]:
    """The states in which the lanes of the first block begin (rows), and the jump to the next block's.

    A matrix applied to its own rows is its square.  So the jump doubles, from the length of a lane
    to that of a block, and so do the lanes that are known."""
    units = np.packbits(np.eye(STATE_BITS, dtype=np.uint8), axis=1, bitorder="little").view(WORD)
    rows = units.T.copy()
    _walk(rows, STEPS)
    images, lanes = rows.T.copy(), state.reshape(1, 4)
    jump = _Jump(images)
    while len(lanes) < LANES:
        lanes = np.concatenate((lanes, jump(lanes)))
        images = jump(images)
        jump = _Jump(images)
    return lanes, jump
