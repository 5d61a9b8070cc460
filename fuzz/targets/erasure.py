"""Shards of one group: kcpstack/kernels/reedsolomon.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from fuzz.records import Fields
from fuzz.vectors import INSIDE, opened
from kcpstack.kernels.reedsolomon import ReedSolomon

LAYOUTS = ((1, 1), (2, 1), (3, 2), (10, 3), (1, 5), (4, 4), (20, 10), (13, 1), (100, 3))


@cache
def codeOf(layout: tuple[int, int]) -> ReedSolomon:
    return ReedSolomon(*layout)


def check(data: bytes) -> None:
    """Any d shards give all data shards back; of shards that nobody made something comes, or a ValueError
    where too few or wrong ones are there."""
    fields = Fields(data)
    code = codeOf(fields.pick(LAYOUTS))
    d, p = code.dataShards, code.parityShards
    honest = fields.flag()
    lost = fields.number(4)
    shards = [fields.take(fields.below(64)) for _ in range(d)]
    length = max(map(len, shards))
    made = code.encode(shards)
    assert [len(one) for one in made] == [length] * p
    group = dict(enumerate([*shards, *made]))
    if honest:
        kept = {index: shard for index, shard in group.items() if not lost >> index % 32 & 1}
    else:
        kept = {}
        for _ in range(d):
            index = fields.number(2) - 8 if fields.flag() else fields.below(d + p)
            kept[index] = fields.take(fields.below(64))
    before = dict(kept)
    possible = len(kept) >= d and all(0 <= index < d + p for index in kept)
    try:
        rebuilt = code.reconstruct(kept)
    except ValueError:
        assert not possible
        return
    assert possible
    assert kept == before
    assert set(rebuilt) == set(range(d)) - set(kept)
    if honest:
        for index, shard in rebuilt.items():
            assert shard.rstrip(b"\0") == shards[index].rstrip(b"\0")
    elif (
        len(kept) == d
    ):  # any d shards are of some group: what was rebuilt gives the parity that it was rebuilt from
        longest = max(map(len, kept.values()))
        again = code.encode([(rebuilt | kept)[index].ljust(longest, b"\0") for index in range(d)])
        for index in set(kept) - set(range(d)):
            assert again[index - d] == kept[index].ljust(longest, b"\0")


def seeds() -> Iterator[bytes]:
    shards = [b"\x3f" + datagram[6:69] for datagram in opened(INSIDE[1], "up") if datagram[4:6] == b"\xf1\0"]
    for layout in range(len(LAYOUTS)):
        for honest, lost in ((1, 1), (1, 6), (0, 0)):
            yield (
                bytes([layout, honest, lost, 0, 0, 0])
                + b"".join(shards[:10])
                + b"\0\1\0\2ab\0\4\0\3abc\1\0\0"
            )
