"""The conformance suite of the erasure code seam, for any IErasureCodeFactory, or whatever makes codes.

Mix it in and name your factory; pytest needs nothing else, unittest and trial want TestCase too::

    class TestMine(ErasureCodeConformance):
        factory = mine

    class TestMyCode(ErasureCodeConformance):
        newCode = MyCode          # a class, where there is no factory; wrap a function in staticmethod

Every run makes the same bytes: there is no chance in it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from functools import partial
from itertools import combinations

from zope.interface.verify import verifyObject

from kcpstack.interfaces import IErasureCode, IErasureCodeFactory
from kcpstack.testing.checks import bytesKept, check, checkFactory, checkRaisesOnly, linesRun

__all__ = ["ErasureCodeConformance", "assertRebuilt", "sampleShards"]

SMALL = 8  # shards; every pattern of loss of every code up to this size is tried
IMPOSSIBLE = ((0, 1), (1, 0), (0, 0), (-1, 3), (3, -1), (-5, -5))
LINES_MAX = 2_500_000  # of Python, for one group: some 60 ms, in which nobody else is served
KEPT_MAX = 4 * 1024 * 1024  # bytes; room for matrices of every pattern of loss of one group, not for shards


def sampleShards(count: int, longest: int = 24) -> list[bytes]:
    """Return ``count`` data shards of unequal lengths from 1 to ``longest`` bytes."""
    chance = random.Random(f"{count}/{longest}")
    return [bytes(chance.randrange(256) for _ in range(chance.randint(1, longest))) for _ in range(count)]


class ErasureCodeConformance:
    """What the FEC layer relies on, one test for each promise of IErasureCode."""

    factory: IErasureCodeFactory | None = None
    """The one to test."""

    most: int = 256
    """The most shards of a group, data and parity, that the code has.  A peer chooses these numbers: have no
    more than you can rebuild in some tens of milliseconds."""

    def newCode(self, dataShards: int, parityShards: int) -> IErasureCode:
        """Make a code: with the factory, unless this is overridden."""
        assert self.factory is not None, "the suite is given a factory, or newCode"
        return self.factory.build(dataShards, parityShards)

    # ---------------------------------------------------------------- what is declared

    def test_the_factory_is_as_declared(self) -> None:
        if self.factory is not None:
            checkFactory(IErasureCodeFactory, self.factory)

    def test_provides_the_interface(self) -> None:
        verifyObject(IErasureCode, self.newCode(3, 2))

    def test_tells_its_parameters(self) -> None:
        for d, p in smallCodes():
            code = self.newCode(d, p)
            told = (code.dataShards, code.parityShards)
            check(told == (d, p), f"asked for {(d, p)}, it says it has {told}")

    def test_impossible_numbers_are_refused_with_a_text(self) -> None:
        for d, p in IMPOSSIBLE:
            try:
                code = self.newCode(d, p)
            except ValueError as error:
                check(len(str(error)) >= 8, f"{d} data and {p} parity shards are refused with {str(error)!r}")
            else:
                raise AssertionError(f"{d} data and {p} parity shards were taken: {code!r}")

    def test_any_numbers_give_a_code_or_are_refused(self) -> None:
        for d, p in (
            (1, 1),
            (1, 255),
            (255, 1),
            (128, 128),
            (256, 1),
            (1, 256),
            (200, 57),
            (1000, 3),
            (10, 200),
        ):
            code = checkRaisesOnly(
                (ValueError,), partial(self.newCode, d, p), f"a code of {d} and {p} shards"
            )
            check(
                code is not None or d + p > self.most,
                f"no code of {d} and {p} shards, and {self.most} may be",
            )

    # ---------------------------------------------------------------- parity

    def test_parity_shards_are_as_many_as_promised_and_as_long_as_the_longest_data_shard(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            lengths = [len(shard) for shard in self.newCode(d, p).encode(shards)]
            check(lengths == [max(map(len, shards))] * p, f"a {d}/{p} code made parity of {lengths} bytes")

    def test_parity_shards_are_bytes_in_a_list(self) -> None:
        parity = self.newCode(3, 2).encode(sampleShards(3))
        check(type(parity) is list, f"encode returns a list, not {type(parity)}")
        check(
            {type(shard) for shard in parity} == {bytes},
            f"parity shards are {set(map(type, parity))}, not bytes",
        )

    def test_short_shards_count_as_padded_with_zero_bytes(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            longest = max(map(len, shards))
            padded = [shard.ljust(longest, b"\0") for shard in shards]
            code = self.newCode(d, p)
            check(
                code.encode(shards) == code.encode(padded),
                f"a {d}/{p} code tells short shards from padded ones",
            )

    def test_parity_is_the_same_always(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            one, other = self.newCode(d, p), self.newCode(d, p)
            check(
                one.encode(shards) == other.encode(shards),
                f"two {d}/{p} codes make other parity of the same data",
            )

    def test_every_byte_of_the_data_is_in_the_parity(self) -> None:
        for d, p in smallCodes():
            shards = [bytes(10)] * d
            code = self.newCode(d, p)
            plain = code.encode(shards)
            for index in range(d):
                for position in (0, 9):
                    changed = bytearray(10)
                    changed[position] = 1
                    parity = code.encode([*shards[:index], bytes(changed), *shards[index + 1 :]])
                    unmoved = [i for i in range(p) if parity[i] == plain[i]]
                    check(
                        not unmoved, f"parity {unmoved} of a {d}/{p} code knows nothing of data shard {index}"
                    )

    def test_shards_of_one_byte_and_of_a_datagram_can_be_encoded(self) -> None:
        for longest in (1, 2, 1500):
            shards = [bytes([index]) * longest for index in range(4)]
            self._survives(4, 2, shards, (0, 3))

    # ---------------------------------------------------------------- rebuilding

    def test_any_data_shards_of_the_group_give_back_all_others(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            code = self.newCode(d, p)
            group = shards + code.encode(shards)
            for size in range(d, d + p + 1):
                for held in combinations(range(d + p), size):
                    rebuilt = code.reconstruct({index: group[index] for index in held})
                    wanted = set(range(d)) - set(held)
                    check(
                        set(rebuilt) == wanted,
                        f"{d}/{p}, of {held}: rebuilt {set(rebuilt)}, missing {wanted}",
                    )
                    assertRebuilt(rebuilt, shards)

    def test_codes_of_usual_sizes_survive_the_worst(self) -> None:
        for d, p in ((10, 3), (20, 10), (5, 2), (30, 5), (12, 20), (70, 30)):
            if d + p <= self.most:
                shards = sampleShards(d)
                for first in (0, max(0, d - p), max(0, d // 2 - 1)):
                    self._survives(d, p, shards, range(first, min(first + p, d)))
                self._survives(d, p, shards, random.Random(d).sample(range(d + p), p))

    def test_rebuilt_shards_are_bytes(self) -> None:
        shards = sampleShards(3)
        code = self.newCode(3, 2)
        group = dict(enumerate(shards + code.encode(shards)))
        del group[0], group[1]
        rebuilt = code.reconstruct(group)
        check({type(shard) for shard in rebuilt.values()} == {bytes}, f"rebuilt {rebuilt!r}: not bytes")

    def test_rebuilt_shards_are_no_longer_than_the_longest(self) -> None:
        for d, p in smallCodes():
            shards = sampleShards(d)
            code = self.newCode(d, p)
            group = shards + code.encode(shards)
            rebuilt = code.reconstruct(dict(list(enumerate(group))[p:]))
            longest = max(map(len, shards))
            lengths = [len(shard) for shard in rebuilt.values()]
            check(
                all(length <= longest for length in lengths),
                f"rebuilt {lengths} bytes, the longest has {longest}",
            )

    def test_the_order_in_which_shards_came_does_not_matter(self) -> None:
        shards = sampleShards(5)
        code = self.newCode(5, 3)
        group = dict(enumerate(shards + code.encode(shards)))
        del group[0], group[3]
        rebuilt = code.reconstruct(dict(reversed(group.items())))
        check(set(rebuilt) == {0, 3}, f"rebuilt {set(rebuilt)}, and 0 and 3 were missing")
        assertRebuilt(rebuilt, shards)

    def test_a_whole_group_needs_nothing(self) -> None:
        shards = sampleShards(4)
        code = self.newCode(4, 2)
        for group in (shards, shards + code.encode(shards)):
            rebuilt = code.reconstruct(dict(enumerate(group)))
            check(rebuilt == {}, f"nothing was missing, and {rebuilt} came")

    def test_rebuilding_again_gives_the_same(self) -> None:
        shards = sampleShards(4)
        code = self.newCode(4, 2)
        group = dict(enumerate(shards + code.encode(shards)))
        del group[1], group[2]
        first, again = code.reconstruct(group), code.reconstruct(group)
        check(first == again, "the same shards gave something else the second time")
        assertRebuilt(again, shards)

    # ---------------------------------------------------------------- what cannot be

    def test_too_few_shards_are_refused(self) -> None:
        shards = sampleShards(4)
        code = self.newCode(4, 2)
        group = dict(enumerate(shards + code.encode(shards)))
        for count in range(4):
            for held in combinations(range(6), count):
                assertRefused(code, {index: group[index] for index in held})

    def test_an_index_out_of_range_is_refused(self) -> None:
        shards = dict(enumerate(sampleShards(4)))
        code = self.newCode(4, 2)
        for index in (-1, 6, 255, 1 << 32):
            assertRefused(code, {**shards, index: b"\1\2"})

    def test_damaged_shards_give_bytes_or_are_refused(self) -> None:
        code = self.newCode(4, 2)
        for shards in (
            {0: b"", 1: b"", 4: b"", 5: b""},
            {0: b"a", 1: b"", 2: b"abc", 5: b"\xff" * 1500},
            {2: b"\xff" * 3, 3: b"a", 4: b"", 5: b"b"},
            {1: b"long" * 300, 2: b"x", 3: b"y", 4: b"short parity"},
        ):
            rebuilt = checkRaisesOnly(
                (ValueError,), partial(code.reconstruct, shards), f"reconstruct({shards!r})"
            )
            if rebuilt is not None:
                check(
                    set(rebuilt) == set(range(4)) - set(shards), f"of {sorted(shards)} came {sorted(rebuilt)}"
                )
                check(
                    {type(shard) for shard in rebuilt.values()} <= {bytes}, f"rebuilt {rebuilt!r}: not bytes"
                )

    def test_after_a_refusal_it_goes_on(self) -> None:
        code = self.newCode(4, 2)
        assertRefused(code, {0: b"a"})
        assertRefused(code, {0: b"a", 1: b"b", 2: b"c", 77: b"d"})
        shards = sampleShards(4)
        group = dict(enumerate(shards + code.encode(shards)))
        del group[0], group[2]
        assertRebuilt(code.reconstruct(group), shards)

    # ---------------------------------------------------------------- ownership and bounds

    def test_what_was_passed_in_is_left_as_it_was(self) -> None:
        shards = sampleShards(4)
        code = self.newCode(4, 2)
        given = list(shards)
        group = dict(enumerate(given + code.encode(given)))
        check(given == shards, "encode changed the list that it was given")
        del group[1]
        before = dict(group)
        code.reconstruct(group)
        check(group == before, "reconstruct changed the dict that it was given")

    def test_what_was_returned_is_left_as_it_was(self) -> None:
        code = self.newCode(3, 2)
        parity = code.encode(sampleShards(3))
        copy = list(parity)
        code.encode(sampleShards(3, longest=60))
        rebuilt = code.reconstruct({2: b"\1", 3: b"\2", 4: b"\3"})
        rebuiltCopy = dict(rebuilt)
        code.reconstruct({1: b"\4", 3: b"\5", 4: b"\6"})
        check(
            parity == copy and rebuilt == rebuiltCopy, "a later call changed what an earlier one had returned"
        )

    def test_one_group_does_not_change_what_the_next_one_gives(self) -> None:
        code = self.newCode(3, 2)
        first = code.encode(sampleShards(3))
        code.encode(sampleShards(3, longest=60))
        code.reconstruct({2: b"\1", 3: b"\2", 4: b"\3"})
        check(code.encode(sampleShards(3)) == first, "an earlier group shows in the next one's parity")

    def test_codes_are_independent(self) -> None:
        one, other = self.newCode(4, 2), self.newCode(2, 3)
        shards = sampleShards(4)
        alone = self.newCode(4, 2).encode(shards)
        other.encode(sampleShards(2))
        check(one.encode(shards) == alone, "another code changed what this one makes")
        group = dict(enumerate(shards + alone))
        del group[0], group[1]
        other.reconstruct({0: b"a", 3: b"b"})
        assertRebuilt(one.reconstruct(group), shards)

    def test_work_is_linear_in_the_bytes(self) -> None:
        def encoding(length: int) -> int:
            code = self.newCode(4, 2)
            return linesRun(lambda: code.encode([bytes([7]) * length] * 4))

        def rebuilding(length: int) -> int:
            code = self.newCode(4, 2)
            group = {index: bytes([index]) * length for index in range(2, 6)}
            return linesRun(lambda: code.reconstruct(group))

        for work in (encoding, rebuilding):
            work(10)  # what is made once, and kept
            small, large = work(200), work(1400)
            check(large <= 9 * small + 2000, f"seven times the bytes took {large} lines instead of {small}")

    def test_the_largest_code_is_quick_enough_for_all_who_wait(self) -> None:
        d = self.most // 2
        shards = sampleShards(d)
        parity: list[bytes] = []

        def make() -> None:
            parity.extend(self.newCode(d, self.most - d).encode(shards))

        def rebuild() -> None:
            self.newCode(d, self.most - d).reconstruct(dict(enumerate(parity[:d], d)))

        for work in (make, rebuild):
            lines = linesRun(work)
            check(
                lines <= LINES_MAX,
                f"a code of {d} and {self.most - d} shards took {lines} lines: too long for one group",
            )

    def test_what_is_kept_is_bounded(self) -> None:
        code = self.newCode(10, 3)
        shards = [bytes([index]) * 1400 for index in range(10)]
        group = shards + code.encode(shards)

        def exchange(lost: int) -> None:
            code.encode(shards)
            code.reconstruct({i: shard for i, shard in enumerate(group) if i % 10 != lost % 10})

        held = bytesKept(partial(exchange, number) for number in range(200))
        check(held <= KEPT_MAX, f"{held} bytes are kept after 200 groups")

    # ---------------------------------------------------------------- details

    def _survives(self, d: int, p: int, shards: list[bytes], lost: Collection[int]) -> None:
        code = self.newCode(d, p)
        group = shards + code.encode(shards)
        rebuilt = code.reconstruct({index: shard for index, shard in enumerate(group) if index not in lost})
        wanted = {index for index in lost if index < d}
        check(set(rebuilt) == wanted, f"{d}/{p} without {list(lost)}: rebuilt {sorted(rebuilt)}")
        assertRebuilt(rebuilt, shards)


def smallCodes() -> Iterator[tuple[int, int]]:
    """Every (d, p) of at most SMALL shards."""
    return ((d, total - d) for total in range(2, SMALL + 1) for d in range(1, total))


def assertRebuilt(rebuilt: dict[int, bytes], shards: list[bytes]) -> None:
    """Each rebuilt shard is the lost one, but for zero bytes at its end."""
    for index, shard in rebuilt.items():
        lost = shards[index]
        check(shard[: len(lost)] == lost, f"shard {index} was rebuilt otherwise")
        check(not any(shard[len(lost) :]), f"shard {index} was rebuilt with something behind it")


def assertRefused(code: IErasureCode, shards: dict[int, bytes]) -> None:
    """``reconstruct`` raises ValueError."""
    try:
        code.reconstruct(shards)
    except ValueError:
        return
    raise AssertionError(f"reconstruct took the shards {sorted(shards)}")
