"""xoshiro256** in lanes gives the words that one step after another gives."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plainxoshiro import oneByOne

from kcpstack.kernels.xoshiro import BLOCK_WORDS, STATE_LENGTH, Generator

STATES = st.binary(min_size=STATE_LENGTH, max_size=STATE_LENGTH).filter(any)


def test_the_words_of_states_that_can_be_followed_by_hand():
    # Their second words are 2, 0 and 262149: times 5, rotated by 7, times 9.
    state = b"".join(word.to_bytes(8, "little") for word in (1, 2, 3, 4))
    assert Generator(state).nextBlock()[:3].tolist() == [11520, 0, 1509978240]


@given(STATES)
@settings(max_examples=4, deadline=None)
def test_three_blocks_are_the_words_of_one_step_after_another(state):
    generator = Generator(state)
    blocks = [generator.nextBlock() for _ in range(3)]
    assert [block.dtype.str for block in blocks] == ["<u8"] * 3
    assert np.concatenate(blocks).tolist() == list(islice(oneByOne(state), 3 * BLOCK_WORDS))


def test_a_single_bit_anywhere_in_the_state_is_enough():
    for bit in range(0, 8 * STATE_LENGTH, 37):
        state = (1 << bit).to_bytes(STATE_LENGTH, "little")
        assert Generator(state).nextBlock().tolist() == list(islice(oneByOne(state), BLOCK_WORDS))


def test_a_copy_goes_on_from_where_it_was_taken_and_leaves_the_other_alone():
    generator = Generator(bytes(range(STATE_LENGTH)))
    generator.nextBlock()
    copy = generator.copy()
    words = [copy.nextBlock().tolist() for _ in range(2)]
    assert [generator.nextBlock().tolist() for _ in range(2)] == words


def test_a_block_is_the_callers():
    generator = Generator(bytes(range(STATE_LENGTH)))
    copy = generator.copy()
    generator.nextBlock()[:] = 0
    copy.nextBlock()
    assert generator.nextBlock().tolist() == copy.nextBlock().tolist()


@pytest.mark.parametrize("state", [b"", bytes(STATE_LENGTH), b"x" * 31, b"x" * 33])
def test_a_state_of_another_length_or_all_zero_is_refused(state):
    with pytest.raises(ValueError, match="state"):
        Generator(state)
