"""FEC datagrams for tests: made, decoded, and an oracle that shares no arithmetic with the package."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence

import reedsolo

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.layers.fec import FEC_HEADER, FECDecoder, FECEncoder

__all__ = ["DATA", "PARITY", "decoded", "encoded", "framed", "header", "oracleParity", "payloads", "vandermonde"]

DATA, PARITY, OUT_OF_BAND = 0xF1, 0xF2, 0xF3
SLOT = 256  # bytes: payloads here are short
OVERHEAD = 20  # bytes of room for a layer below

reedsolo.init_tables(0x11D)


def payloads(count: int, seed: object = 0, length: int | None = None) -> list[bytes]:
    """Distinct datagrams that no one takes for FEC's: of one length where it is given."""
    chance = random.Random(f"payloads {seed}")
    made = []
    for number in range(count):
        size = chance.randint(0, 60) if length is None else length
        made.append(struct.pack("<IB", number, 81) + bytes(chance.randrange(256) for _ in range(size)))
    return made


def encoded(
    encoder: FECEncoder, datagrams: Sequence[bytes], now: int = 0, batchLength: int = 1000
) -> list[bytes]:
    """All that leaves for these datagrams, in the order of sending."""
    out: list[bytes] = []
    batch = outboundBatch(SLOT, OVERHEAD + FEC_HEADER)
    for first in range(0, len(datagrams), batchLength):
        batch.clear()
        for datagram in datagrams[first : first + batchLength]:
            batch.append(datagram)
        encoder.encode(batch, now)
        out += map(bytes, batch)
    return out


def decoded(
    decoder: FECDecoder, datagrams: Iterable[bytes], batchLength: int = 1000
) -> tuple[list[bytes], list[bytes]]:
    """(arrived, recovered), from as many batches as it takes."""
    datagrams = list(datagrams)
    arrived: list[bytes] = []
    recovered: list[bytes] = []
    for first in range(0, len(datagrams), batchLength):
        up, rebuilt = decoder.decode(inboundBatch(datagrams[first : first + batchLength]))
        arrived += map(bytes, up)
        recovered += map(bytes, rebuilt)
    return arrived, recovered


def header(datagram: bytes) -> tuple[int, int]:
    """(seqid, type)."""
    return struct.unpack_from("<IH", datagram)


def framed(seqid: int, payload: bytes) -> bytes:
    """A data datagram."""
    return struct.pack("<IHH", seqid, DATA, len(payload) + 2) + payload


def vandermonde(d: int, p: int) -> list[list[int]]:
    """The encoding matrix as the protocol page defines it: V times the inverse of its top square."""
    matrix = [[reedsolo.gf_pow(row, column) if row else int(column == 0) for column in range(d)] for row in range(d + p)]
    inverse = _inverted(matrix[:d])
    return [
        [_sum(reedsolo.gf_mul(row[k], inverse[k][column]) for k in range(d)) for column in range(d)] for row in matrix
    ]


def oracleParity(p: int, group: Sequence[bytes]) -> list[bytes]:
    """The parity shards of a group of KCP datagrams, byte by byte."""
    shards = [struct.pack("<H", len(datagram) + 2) + datagram for datagram in group]
    longest = max(map(len, shards))
    columns = list(zip(*(shard.ljust(longest, b"\0") for shard in shards)))
    rows = vandermonde(len(group), p)[len(group) :]
    return [bytes(_sum(map(reedsolo.gf_mul, row, column)) for column in columns) for row in rows]


def _sum(values: Iterable[int]) -> int:
    total = 0
    for value in values:
        total ^= value
    return total


def _inverted(matrix: list[list[int]]) -> list[list[int]]:
    """Gauss and Jordan."""
    size = len(matrix)
    rows = [list(row) + [int(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for pivot in range(size):
        swap = next(row for row in range(pivot, size) if rows[row][pivot])
        rows[pivot], rows[swap] = rows[swap], rows[pivot]
        factor = reedsolo.gf_inverse(rows[pivot][pivot])
        rows[pivot] = [reedsolo.gf_mul(value, factor) for value in rows[pivot]]
        for row in range(size):
            if row != pivot and rows[row][pivot]:
                factor = rows[row][pivot]
                rows[row] = [a ^ reedsolo.gf_mul(b, factor) for a, b in zip(rows[row], rows[pivot])]
    return [row[size:] for row in rows]
