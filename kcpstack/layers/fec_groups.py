"""The groups of one known FEC layout: shards filed until a lost datagram can be rebuilt.

A group that is whole, or has been rebuilt, keeps nothing but the note that it is done.  Compiled with fec_groups.pxd
(docs/kernels.rst).
"""

from __future__ import annotations

from kcpstack.counters import Counters
from kcpstack.interfaces import IErasureCode

__all__ = ["Groups", "SIZE_FIELD", "distance", "modulus"]

SIZE_FIELD = 2  # bytes; begins every data shard, counts itself

# Groups kept, the newest included.  Parity directly follows its data, so only reordering needs
# more than one; Go keeps about as many.
KEPT_GROUPS = 3


# For C, as in kcpstack/kernels/segment.py.
_HALF, _MASK, _KEPT = 0x80000000, 0xFFFFFFFF, KEPT_GROUPS


def distance(origin: int, seqid: int) -> int:
    """How far ``seqid`` is ahead of ``origin``, the short way round; negative where it is behind."""
    return ((seqid - origin + _HALF) & _MASK) - _HALF


def modulus(shards: int) -> int:
    """Where seqids wrap in groups of ``shards``: after the last whole group up to 2**32 - 1."""
    return 0xFFFFFFFF // shards * shards


class _Group:
    """The shards held of one group, by index, data and parity apart."""

    __slots__ = ("data", "parity", "done")

    def __init__(self) -> None:
        self.data: dict[int, bytes] = {}
        self.parity: dict[int, bytes] = {}
        self.done = False

    def finish(self) -> None:
        self.data = {}
        self.parity = {}
        self.done = True


class Groups:
    """Files shards with ``take``, gives rebuilt datagrams with ``rebuild``.

    Groups that begin before the seqid ``since`` are left alone: some
    of their shards may have come and gone unfiled, and would be rebuilt though they had arrived.
    Between two calls of ``rebuild`` every group that ``take`` has begun is kept; after it,
    KEPT_GROUPS."""

    def __init__(self, code: IErasureCode, counters: Counters, since: int | None = None) -> None:
        self._code = code
        self._counters = counters
        self._data = code.dataShards
        self._shards = code.dataShards + code.parityShards
        self._modulus = modulus(self._shards)
        self._cycle = self._modulus // self._shards  # how many group numbers there are
        self._groups: dict[int, _Group] = {}
        self._newest: int | None = None
        self._ready: set[int] = set()
        self._since = since
        self.changed = False  # shards have been filed since the last `rebuild`

    @property
    def layout(self) -> tuple[int, int]:
        """(d, p)."""
        return self._data, self._shards - self._data

    @property
    def shardsHeld(self) -> int:
        """How many shards are kept now, in all groups."""
        return sum(len(group.data) + len(group.parity) for group in self._groups.values())

    def take(self, seqid: int, isParity: bool, shard: bytes) -> bool:
        """File a shard (kept without a copy); duplicates and those of old groups are dropped.

        False where its type contradicts the layout: no group can be trusted then."""
        if seqid >= self._modulus:
            self._counters.FECErrs += 1
            return True
        number = seqid // self._shards
        index = seqid - number * self._shards
        if isParity != (index >= self._data):
            return False
        self.changed = True
        group = self._groups.get(number) or self._begin(number)
        if group is not None and not group.done:
            self._file(group, number, index, shard)
        return True

    def rebuild(self) -> list[bytes] | None:
        """Return the datagrams that can be rebuilt of the shards taken since the last call, then
        drop the groups too old to be kept.

        None where something came out that no sender put in: no group can be trusted then."""
        recovered: list[bytes] = []
        self.changed = False
        for number in sorted(self._ready):
            group = self._groups[number]
            if group.done:
                continue
            for shard in self._code.reconstruct({**group.data, **group.parity}).values():
                size = int.from_bytes(shard[:SIZE_FIELD], "little")
                if not SIZE_FIELD <= size <= len(shard) or shard.count(0, size) != len(shard) - size:
                    return None
                recovered.append(shard[SIZE_FIELD:size])
            group.finish()
        self._ready.clear()
        self._forgetOld()
        return recovered

    def _age(self, number: int) -> int:
        """How many groups ``number`` is behind the newest."""
        return 0 if self._newest is None else (self._newest - number) % self._cycle

    def _begin(self, number: int) -> _Group | None:
        """A new group, or None where it would be too old."""
        age = self._age(number)
        if self._newest is None or age > self._cycle // 2:
            self._newest = number
        elif age >= _KEPT:
            return None
        group = self._groups[number] = _Group()
        if self._since is not None and distance(self._since, number * self._shards) < 0:
            group.finish()
        return group

    def _file(self, group: _Group, number: int, index: int, shard: bytes) -> None:
        if index < self._data:
            if index not in group.data:
                group.data[index] = shard
            if len(group.data) == self._data:
                self._counters.FECFullShards += 1
                group.finish()
                return
        else:
            if index not in group.parity:
                group.parity[index] = shard
        if len(group.data) + len(group.parity) >= self._data:
            self._ready.add(number)

    def _forgetOld(self) -> None:
        if len(self._groups) > _KEPT:
            kept: dict[int, _Group] = {}
            for number, group in self._groups.items():
                if self._age(number) < _KEPT:
                    kept[number] = group
                else:
                    self._counters.FECShortShards += len(group.data)
            self._groups = kept
        if self._newest is not None:
            self._counters.FECShardSet = len(self._groups)
            self._counters.FECShardMin = max(0, self._newest - KEPT_GROUPS + 1)
