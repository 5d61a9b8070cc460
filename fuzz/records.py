"""How most targets read their input: as records, so that a mutation changes one step and not all that follow.

::

    op u8 | length u16 | argument (as many bytes as there are, if fewer)         little endian
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["Fields", "record", "records"]

RECORDS_MAX = 200  # steps of an input; more find nothing that fewer do not, and take longer
HEAD = 3  # bytes

Item = TypeVar("Item")


def records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every (op, argument) of an input, RECORDS_MAX at most.  Any bytes will do."""
    position = 0
    for _ in range(RECORDS_MAX):
        if len(data) - position < HEAD:
            return
        end = position + HEAD + int.from_bytes(data[position + 1 : position + HEAD], "little")
        yield data[position], data[position + HEAD : end]
        position = end


def record(op: int, argument: bytes = b"") -> bytes:
    """What ``records`` reads as one step."""
    return bytes([op]) + len(argument).to_bytes(HEAD - 1, "little") + argument


class Fields:
    """Numbers and choices taken from the front of some bytes; where they end, zeros follow."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, size: int = 1) -> int:
        """An unsigned number of ``size`` bytes, little endian."""
        return int.from_bytes(self.take(size), "little")

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1, a byte or two for it."""
        return self.number(1 if limit <= 256 else 2) % limit

    def flag(self) -> bool:
        return bool(self.number() & 1)

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, or as many as there are."""
        taken = self._data[self._position : self._position + size]
        self._position += len(taken)
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def pieces(self) -> list[bytes]:
        """All that is left, cut where its own bytes say: for decoders that must not care."""
        rest = self.rest()
        pieces: list[bytes] = []
        while rest:
            size = 1 + rest[0] % 61 if len(pieces) < PIECES_MAX else len(rest)
            pieces.append(rest[:size])
            rest = rest[size:]
        return pieces


PIECES_MAX = 500  # a longer input's end comes in one
