"""The conformance suite of the erasure code seam, for any IErasureCode.

Mix it in and name what makes your code; pytest needs nothing else, unittest and trial want TestCase
too::

    class TestMine(ErasureCodeConformance):
        newCode = MyCode          # a class; wrap a function in staticmethod

Every run makes the same bytes: there is no chance in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from zope.interface.verify import verifyObject

from kcpstack.interfaces import IErasureCode

__all__ = ["ErasureCodeConformance", "sampleShards"]

SMALL = 8  # shards; every pattern of loss of every code up to this size is tried


def sampleShards(count: int, longest: int = 24) -> list[bytes]:
    """Return ``count`` data shards of unequal lengths from 1 to ``longest`` bytes."""
    chance = random.Random(f"{count}/{longest}")
    return [bytes(chance.randrange(256) for _ in range(chance.randint(1, longest))) for _ in range(count)]


def smallCodes() -> Iterator[tuple[int, int]]:
    """Every (d, p) of at most SMALL shards."""
    return ((d, total - d) for total in range(2, SMALL + 1) for d in range(1, total))


class ErasureCodeConformance:
    """What the FEC layer relies on, one test for each promise of IErasureCode."""

    newCode: Any = None
    """Makes the code of (data shards, parity shards)."""

    def test_provides_the_interface(self) -> None:
        assert verifyObject(IErasureCode, self.newCode(3, 2))

    def test_tells_its_parameters(self) -> None:
        for d, p in smallCodes():
            code = self.newCode(d, p)
            assert (code.dataShards, code.parityShards) == (d, p)

    def test_parity_shards_are_as_many_as_promised_and_as_long_as_the_longest_data_shard(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            assert [len(shard) for shard in self.newCode(d, p).encode(shards)] == [max(map(len, shards))] * p

    def test_short_shards_count_as_padded_with_zero_bytes(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            longest = max(map(len, shards))
            padded = [shard.ljust(longest, b"\0") for shard in shards]
            code = self.newCode(d, p)
            assert code.encode(shards) == code.encode(padded)

    def test_any_data_shards_of_the_group_give_back_all_others(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            code = self.newCode(d, p)
            group = shards + code.encode(shards)
            for size in range(d, d + p + 1):
                for held in combinations(range(d + p), size):
                    rebuilt = code.reconstruct({index: group[index] for index in held})
                    assert set(rebuilt) == set(range(d)) - set(held), (d, p, held)
                    assertRebuilt(rebuilt, shards)

    def test_the_order_in_which_shards_came_does_not_matter(self) -> None:
        shards = sampleShards(5)
        code = self.newCode(5, 3)
        group = dict(enumerate(shards + code.encode(shards)))
        del group[0], group[3]
        rebuilt = code.reconstruct(dict(reversed(group.items())))
        assert set(rebuilt) == {0, 3}
        assertRebuilt(rebuilt, shards)

    def test_too_few_shards_are_refused(self) -> None:
        shards = sampleShards(4)
        code = self.newCode(4, 2)
        group = dict(enumerate(shards + code.encode(shards)))
        for held in combinations(range(6), 3):
            assertRefused(code, {index: group[index] for index in held})
        assertRefused(code, {})

    def test_an_index_out_of_range_is_refused(self) -> None:
        shards = dict(enumerate(sampleShards(4)))
        code = self.newCode(4, 2)
        for index in (-1, 6, 255, 1 << 32):
            assertRefused(code, {**shards, index: b"\1\2"})

    def test_what_was_passed_in_is_left_as_it_was(self) -> None:
        shards = sampleShards(4)
        code = self.newCode(4, 2)
        given = list(shards)
        group = dict(enumerate(given + code.encode(given)))
        assert given == shards
        del group[1]
        before = dict(group)
        code.reconstruct(group)
        assert group == before

    def test_one_group_does_not_change_what_the_next_one_gives(self) -> None:
        code = self.newCode(3, 2)
        first = code.encode(sampleShards(3))
        code.encode(sampleShards(3, longest=60))
        code.reconstruct({2: b"\1", 3: b"\2", 4: b"\3"})
        assert code.encode(sampleShards(3)) == first


def assertRebuilt(rebuilt: dict[int, bytes], shards: list[bytes]) -> None:
    """Each rebuilt shard is the lost one, but for zero bytes at its end."""
    for index, shard in rebuilt.items():
        lost = shards[index]
        assert shard[: len(lost)] == lost, index
        assert not any(shard[len(lost) :]), index


def assertRefused(code: Any, shards: dict[int, bytes]) -> None:
    """``reconstruct`` raises ValueError."""
    try:
        code.reconstruct(shards)
    except ValueError:
        return
    raise AssertionError(f"reconstruct took the shards {sorted(shards)}")
