"""kcptun's Reed-Solomon code over whole shards (docs/wire.rst, "FEC"; the arithmetic: kcpstack/kernels/galois.py)."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from kcpstack.interfaces import IErasureCode
from kcpstack.kernels.galois import combineRows, interpolation

__all__ = ["ReedSolomon"]

MAX_SHARDS = 256  # the field has no more points


@implementer(IErasureCode)
class ReedSolomon:
    """See :class:`kcpstack.interfaces.IErasureCode`.  Without state: any number of sessions may
    share one.

    Encoding costs d * p passes over a shard, rebuilding d passes for each missing data shard."""

    def __init__(self, dataShards: int, parityShards: int) -> None:
        """Raises ValueError unless 1 <= d, 1 <= p and d + p <= MAX_SHARDS."""
        if dataShards < 1 or parityShards < 1 or dataShards + parityShards > MAX_SHARDS:
            raise ValueError(f"no code with {dataShards} data and {parityShards} parity shards")
        self.dataShards = dataShards
        self.parityShards = parityShards
        total = dataShards + parityShards
        self._parityWeights = interpolation(tuple(range(dataShards)), tuple(range(dataShards, total)))

    def encode(self, shards: Sequence[bytes]) -> list[bytes]:
        """See IErasureCode.  Raises ValueError where there are not d shards."""
        if len(shards) != self.dataShards:
            raise ValueError(f"{len(shards)} data shards instead of {self.dataShards}")
        length = max(map(len, shards))
        return combineRows(self._parityWeights, shards, length)

    def reconstruct(self, shards: dict[int, bytes]) -> dict[int, bytes]:
        """See IErasureCode.  Each rebuilt shard is as long as the longest that it is made of."""
        held = sorted(shards)
        if len(held) < self.dataShards:
            raise ValueError(f"{len(held)} shards, but {self.dataShards} are needed")
        if held[0] < 0 or held[-1] >= self.dataShards + self.parityShards:
            raise ValueError(f"shards {held[0]} to {held[-1]} are more than a group has")
        missing = tuple(index for index in range(self.dataShards) if index not in shards)
        if not missing:
            return {}
        nodes = tuple(held[: self.dataShards])
        values = [shards[index] for index in nodes]
        length = max(map(len, values))
        return dict(zip(missing, combineRows(interpolation(nodes, missing), values, length)))
