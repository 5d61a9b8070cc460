"""The method ``xor``: header and datagram XOR a fixed table made of the key (protocol.md, "crypt").

A table that never changes hides nothing from whoever sees a few datagrams; it is here for the sake
of peers that use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.ciphers.framing import HEADER_LENGTH, frame, unframe
from kcpstack.ciphers.refusals import keepOnly
from kcpstack.interfaces import IBatchCipher

try:
    from kcpstack.kernels import native
except ImportError:
    native = None  # type: ignore[assignment]

__all__ = ["XORCipher", "transformPlain"]

TABLE_SALT = b"sH3CIVoF#rWLtJo6"
TABLE_ITERATIONS = 32
TABLE_LENGTH = 1500  # bytes, and so the longest sealed datagram


@implementer(IBatchCipher)
class XORCipher:
    """nonce | crc32 | datagram, XOR a table.

    Sealing raises ValueError where a sealed datagram would be longer than the table; one that
    arrives is refused.
    """

    overhead = HEADER_LENGTH

    def __init__(self, key: bytes, randomBytes: Callable[[int], bytes]) -> None:
        self._table = hashlib.pbkdf2_hmac("sha1", key, TABLE_SALT, TABLE_ITERATIONS, TABLE_LENGTH)
        self._randomBytes = randomBytes

    def sealBatch(self, batch: Batch) -> None:
        longest = max((end - start for start, end in zip(batch.starts, batch.ends)), default=0)
        if longest + HEADER_LENGTH > TABLE_LENGTH:
            raise ValueError(f"xor seals {TABLE_LENGTH - HEADER_LENGTH} bytes at most, not {longest}")
        frame(batch, self._randomBytes)
        self._transform(batch)

    def openBatch(self, batch: Batch) -> int:
        count = len(batch)
        lengths = [end - start for start, end in zip(batch.starts, batch.ends)]
        if lengths and max(lengths) > TABLE_LENGTH:
            keepOnly(batch, [i for i, length in enumerate(lengths) if length <= TABLE_LENGTH])
        tooLong = count - len(batch)
        self._transform(batch)
        return tooLong + unframe(batch)

    def _transform(self, batch: Batch) -> None:
        (transformPlain if native is None else native.xorTable)(batch, self._table)


def transformPlain(batch: Batch, table: bytes) -> None:
    """XOR every datagram, none of them longer than ``table``, with the table's front, as big integers: the fastest way that
    plain Python has, and slower over a whole batch at once than one by one.
    """
    number = int.from_bytes(table, "big")
    with memoryview(batch.buffer) as view:
        for start, end in zip(batch.starts, batch.ends):
            length = end - start
            front = number >> 8 * (len(table) - length)
            view[start:end] = (int.from_bytes(view[start:end], "big") ^ front).to_bytes(length, "big")
