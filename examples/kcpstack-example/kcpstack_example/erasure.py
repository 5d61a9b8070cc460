"""An erasure code: Reed-Solomon by the package reedsolo, for ``--erasure reedsolo``.

reedsolo knows messages: to d bytes it adds p, and where it is told which p of the d + p are lost it gives
them back.  Here the bytes at one place of all shards are such a message:

    shard 0      a0  a1  a2 ...          message 0 is a0 b0 c0, and its check bytes are p0 q0
    shard 1      b0  b1  b2 ...
    shard 2      c0  c1  c2 ...
    parity 0     p0  p1  p2 ...
    parity 1     q0  q1  q2 ...

To ask it for each of some 1400 columns would take milliseconds a group.  But the code is linear: a check byte
is a sum (which is XOR) of the data bytes, each times a weight that depends on its place alone.  A message
with a single 1 in it shows the weights of that place, so reedsolo is asked d times, when a code is made.
``bytes.translate`` then multiplies a whole shard by a weight, and XOR of two big integers adds two shards.

It is the same with what is lost.  What the shards that are left add to the parity is taken out of it, so that
all data shards that are left count as zero; then each lost one is a sum of as many parity shards, and
messages with a single 1 among these show the weights.

The code differs from kcptun's own (kcpstack's ``reedsolomon``), which puts no polynomial's roots into its
parity but values: both ends need this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import reedsolo
from zope.interface import implementer

from kcpstack.interfaces import IErasureCode, IErasureCodeFactory

__all__ = ["ReedSoloCode", "ReedSoloFactory"]

MESSAGE = 255  # bytes in one of reedsolo's over GF(2^8)
SHARDS_MAX = 64  # a peer chooses the numbers: decoding takes up to 30 ms, and with 255 it would be 1.7 s
FIELD = 0x11D  # its polynomial: reedsolo's default, but written down, since both ends need the same
CODES_KEPT = 16  # of different parameters; a server has one for each kind of client
PATTERNS_KEPT = 64  # of loss: few recur, and one is at most 1 KiB

Rows = tuple[bytes, ...]  # of weights


@implementer(IErasureCode)
class ReedSoloCode:
    """See kcpstack.interfaces.IErasureCode.  Without state that matters: any number of sessions may share
    one.

    Encoding costs d * p passes over a shard.  Rebuilding m shards costs d * m passes, and a pattern of loss
    that is new m messages for reedsolo to decode, each in a time that grows with m * (d + p)."""

    def __init__(self, dataShards: int, parityShards: int) -> None:
        self.dataShards = dataShards
        self.parityShards = parityShards
        self._codec = reedsolo.RSCodec(parityShards, nsize=MESSAGE, prim=FIELD)
        columns = [bytes(self._codec.encode(unit))[dataShards:] for unit in unitMessages(dataShards)]
        self._parityRows: Rows = tuple(map(bytes, zip(*columns)))
        self._rowsFor = lru_cache(PATTERNS_KEPT)(self._decodedRows)

    def encode(self, shards: Sequence[bytes]) -> list[bytes]:
        """See IErasureCode."""
        length = max(map(len, shards))
        return [weightedSum(row, shards).to_bytes(length, "little") for row in self._parityRows]

    def reconstruct(self, shards: dict[int, bytes]) -> dict[int, bytes]:
        """See IErasureCode.  Each rebuilt shard is as long as the longest that it is made of."""
        d, total = self.dataShards, self.dataShards + self.parityShards
        outside = [index for index in shards if not 0 <= index < total]
        if outside or len(shards) < d:
            raise ValueError(
                f"{len(shards)} shards of which {len(outside)} are no group's, and {d} are needed"
            )
        missing = tuple(index for index in range(d) if index not in shards)
        if not missing:
            return {}
        held = [index for index in range(d) if index in shards]
        used = tuple(sorted(index for index in shards if index >= d)[: len(missing)])
        values = [shards[index] for index in held]
        length = max(len(shards[index]) for index in (*held, *used))
        left = []  # of each parity shard, when the data shards that are there have been taken out
        for index in used:
            row = self._parityRows[index - d]
            known = weightedSum([row[place] for place in held], values)
            left.append((int.from_bytes(shards[index], "little") ^ known).to_bytes(length, "little"))
        rows = self._rowsFor(missing, used)
        return {index: weightedSum(row, left).to_bytes(length, "little") for index, row in zip(missing, rows)}

    def _decodedRows(self, missing: tuple[int, ...], used: tuple[int, ...]) -> Rows:
        """For each of the ``missing`` data shards its weights for the parity shards that are ``used``, as
        many, where all other data is zero."""
        total = self.dataShards + self.parityShards
        lost = [*missing, *(index for index in range(self.dataShards, total) if index not in used)]
        columns = []
        for index in used:
            message = bytearray(total)
            message[index] = 1
            data = self._codec.decode(message, erase_pos=lost, only_erasures=True)[0]
            columns.append([data[place] for place in missing])
        return tuple(map(bytes, zip(*columns)))


@implementer(IErasureCodeFactory)
class ReedSoloFactory:
    """Any parameters with a sum of SHARDS_MAX at most."""

    name = "reedsolo"

    def build(self, dataShards: int, parityShards: int) -> ReedSoloCode:
        """See IErasureCodeFactory."""
        if dataShards < 1 or parityShards < 1 or dataShards + parityShards > SHARDS_MAX:
            raise ValueError(
                f"give at least one data and one parity shard, and {SHARDS_MAX} at most together"
            )
        return code(dataShards, parityShards)


code = lru_cache(CODES_KEPT)(ReedSoloCode)


def unitMessages(length: int) -> Iterable[bytearray]:
    """Each message of ``length`` bytes that is 1 at one place and 0 at the others."""
    for place in range(length):
        message = bytearray(length)
        message[place] = 1
        yield message


def weightedSum(weights: Iterable[int], shards: Iterable[bytes]) -> int:
    """The sum of weight * shard, as an integer whose lowest byte is the first; so the shorter count as
    padded."""
    total = 0
    for weight, shard in zip(weights, shards):
        total ^= int.from_bytes(shard.translate(products(weight)), "little")
    return total


@lru_cache(256)
def products(weight: int) -> bytes:
    """A table for ``bytes.translate`` that multiplies by ``weight``: eight products, and sums of these."""
    table = bytearray(256)
    for bit in range(8):
        table[1 << bit] = reedsolo.gf_mult_noLUT(weight, 1 << bit, prim=FIELD)
    for byte in range(256):
        highest = 1 << byte.bit_length() >> 1
        table[byte] = table[highest] ^ table[byte ^ highest] if byte != highest else table[byte]
    return bytes(table)
