"""How a receiver learns the FEC parameters of a sender: by ruling out all others.

A sender with d data and p parity shards to a group numbers its shards so that a data shard has
seqid mod n below d, n being d + p, and a parity shard has not.  So every shard that arrives rules
out some of the layouts (d, p) that there can be.  The true one is never ruled out, whatever is
lost, reordered, doubled or left out; when only one is left it is therefore the true one, as long
as the sender did not change its layout meanwhile.
"""

from __future__ import annotations

__all__ = ["LayoutSearch"]

MAX_SHARDS = 256  # shards to a group: the code's field has no more points


class _Size:
    """The layouts left that have n shards to a group: d is from ``least`` to ``most``."""

    __slots__ = ("shards", "least", "most")

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.least = 1
        self.most = shards - 1

    def explains(self, seqid: int, isParity: bool) -> bool:
        """Keep those that explain a shard; False where none does."""
        index = seqid % self.shards
        if index < self.least:
            return not isParity
        if index >= self.most:
            return isParity
        if isParity:
            self.most = index
        else:
            self.least = index + 1
        return True


class LayoutSearch:
    """The layouts that explain every shard seen so far.

    Work for a shard is bounded by MAX_SHARDS, and soon far less: what is ruled out costs nothing
    any more."""

    __slots__ = ("_sizes",)

    def __init__(self) -> None:
        self._sizes = [_Size(shards) for shards in range(2, MAX_SHARDS + 1)]

    @property
    def layout(self) -> tuple[int, int] | None:
        """(d, p) where only one is left, else None."""
        if len(self._sizes) == 1:
            size = self._sizes[0]
            if size.least == size.most:
                return size.least, size.shards - size.least
        return None

    def observe(self, seqid: int, isParity: bool) -> bool:
        """Rule out what does not explain this shard.  False where nothing is left: then the shards
        seen did not come from one sender with one layout, and this search is of no more use."""
        self._sizes = [size for size in self._sizes if size.explains(seqid, isParity)]
        return bool(self._sizes)
