"""Block ciphers in CFB mode for ciphers of our own, which work on many blocks at once.

The wire is that of kcpstack.ciphers.cfb.  What takes the place of its one running context, which does
one block after another, is this:

- Opening, every block of the whole batch at once: each needs only the ciphertext in front of it,
  and all of that has arrived.
- Sealing, column by column: a block needs the one before it sealed, so only the first blocks of all
  datagrams can be done at once, then all second ones, and so on.  A batch of 64 takes little longer
  than a single datagram.

These are the ciphers of kcptun's that no library in good repair was found to have (November 2026).
cryptography and pycryptodome have none of them.  PyPI's twofish 0.3.0 comes as source alone, for Python up to
3.3; its xtea is of 2018; xtea_cython, little known, would spare one of the three.

numpy does the arithmetic, and is required rather than optional: a block at a time in plain Python takes
milliseconds a datagram, which is of no use to a tunnel, and would be a second version to keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from zope.interface import implementer

from kcpstack.batch import Batch
from kcpstack.ciphers.cfb import IV, gather
from kcpstack.ciphers.framing import HEADER_LENGTH, frame, unframe
from kcpstack.interfaces import IBatchCipher

__all__ = ["ColumnCFBCipher"]

@implementer(IBatchCipher)
class ColumnCFBCipher:
    """nonce | crc32 | datagram, encrypted with a block cipher in CFB mode.

    ``blockCipher`` has ``blockLength`` (bytes, 8 or 16), ``sideBySide`` (datagrams, beyond which more
    at once gain nothing), ``encryptBlocks`` and ``encryptColumns``, as those of kcpstack.kernels.tea do.
    """

    overhead = HEADER_LENGTH

    def __init__(self, blockCipher: Any, randomBytes: Callable[[int], bytes]) -> None:
        self._blockCipher = blockCipher
        self._blockLength: int = blockCipher.blockLength
        self._iv = IV[: self._blockLength]
        self._randomBytes = randomBytes

    def sealBatch(self, batch: Batch) -> None:
        if not batch.starts:
            return
        frame(batch, self._randomBytes)
        sideBySide = self._blockCipher.sideBySide
        for first in range(0, len(batch), sideBySide):
            chosen = slice(first, first + sideBySide)
            self._seal(batch.buffer, batch.starts[chosen], batch.ends[chosen])

    def _seal(self, buffer: bytearray, starts: list[int], ends: list[int]) -> None:
        blockLength = self._blockLength
        depth = -(-max(end - start for start, end in zip(starts, ends)) // blockLength)
        rows = np.zeros((len(starts), depth * blockLength), np.uint8)
        content = np.frombuffer(buffer, np.uint8)
        for row, start, end in zip(rows, starts, ends):
            row[: end - start] = content[start:end]
        columns = np.ascontiguousarray(rows.reshape(len(starts), depth, blockLength).swapaxes(0, 1))
        columns = self._blockCipher.encryptColumns(columns, self._iv)
        rows = np.ascontiguousarray(columns.swapaxes(0, 1)).reshape(rows.shape)
        for row, start, end in zip(rows, starts, ends):
            content[start:end] = row[: end - start]

    def openBatch(self, batch: Batch) -> int:
        if not batch.starts:
            return 0
        gathered, positions = gather(batch, self._blockLength)
        batch.ends = [p + end - start for p, start, end in zip(positions, batch.starts, batch.ends)]
        batch.starts = positions
        batch.buffer = gathered
        blocks = np.frombuffer(gathered, np.uint8).reshape(-1, self._blockLength)
        # Each block's keystream comes from the one before; only first ones, which are nonce, have none.
        blocks[1:] ^= self._blockCipher.encryptBlocks(blocks[:-1])
        del blocks  # while there is a view, the buffer cannot be resized
        return unframe(batch)
