"""Arithmetic in GF(2^8), byte strings at a time.

A byte is a polynomial over GF(2), multiplied modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11d); addition is
XOR.  Nothing here loops over bytes in Python: ``bytes.translate`` multiplies a whole string by a
constant, and XOR of big integers adds strings.

The erasure code (docs/wire.rst, "FEC") is a Vandermonde matrix made systematic.  Row r of a
Vandermonde matrix evaluates a polynomial at the point r, so the code has a plainer form: byte by
byte, the d data shards are the values at the points 0 to d-1 of a polynomial of degree below d,
and the parity shards are its values at d, d+1 and so on.  Any d values give all the others by
Lagrange's formula; parity and lost shards are therefore the same computation, and no matrix is
ever inverted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

try:
    from kcpstack.kernels import native
except ImportError:
    native = None  # type: ignore[assignment]

__all__ = ["EXP", "LOG", "PRODUCTS", "combine", "combineRows", "combineRowsPlain", "interpolation"]

POLYNOMIAL = 0x11D
ORDER = 255  # of the multiplicative group; 2 generates it

# Weights for at most this many pairs (nodes, points) are kept: the few patterns of loss that recur.
# The largest possible entry has 64 KiB, one of a 10/3 code less than 1.
CACHED_INTERPOLATIONS = 64


def _powers() -> tuple[list[int], list[int]]:
    exp, log = [], [0] * 256
    value = 1
    for power in range(ORDER):
        exp.append(value)
        log[value] = power
        value <<= 1
        if value > 255:
            value ^= POLYNOMIAL
    return exp, log


def _products() -> tuple[bytes, ...]:
    def added(left: bytes, right: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(left, right))

    identity = bytes(range(256))
    doubled = bytes(a << 1 if a < 128 else (a << 1) ^ POLYNOMIAL for a in identity)
    tables = [bytes(256), identity]
    for factor in range(1, 128):
        even = tables[factor].translate(doubled)
        tables += [even, added(even, identity)]
    return tuple(tables)


# EXP[i] is 2**i for i from 0 to 254; LOG is its inverse on 1 to 255.  LOG[0] is 0, which no product
# may rely on, and which lets sums over "all others" include the element itself (see _logDistance).
EXP, LOG = _powers()

# PRODUCTS[a][b] is a * b: a table for bytes.translate for each factor, 64 KiB in all.
PRODUCTS = _products()


def _logDistance(point: int, nodes: Sequence[int]) -> int:
    """The logarithm of the product of (point - node) over all nodes but the point itself."""
    return sum([LOG[point ^ node] for node in nodes])


@lru_cache(maxsize=CACHED_INTERPOLATIONS)
def interpolation(nodes: tuple[int, ...], points: tuple[int, ...]) -> tuple[bytes, ...]:
    """Weights that give a polynomial's value at each of ``points`` from its values at ``nodes``.

    Both are distinct numbers from 0 to 255, no point is a node, and the polynomial's degree is
    below len(nodes).  One bytes per point: the weight of each node in order.
    Work grows with len(nodes) * (len(nodes) + len(points)).
    """
    own = [_logDistance(node, nodes) for node in nodes]
    rows = []
    for point in points:
        whole = _logDistance(point, nodes)
        rows.append(bytes([EXP[(whole - LOG[point ^ node] - log) % ORDER] for node, log in zip(nodes, own)]))
    return tuple(rows)


def combine(weights: Iterable[int], shards: Iterable[bytes], length: int) -> bytes:
    """The sum of weight * shard over all shards, ``length`` bytes.

    Shards shorter than ``length`` count as padded with zero bytes.  Raises OverflowError where one
    is longer and its excess is not zero."""
    total = 0
    for weight, shard in zip(weights, shards):
        total ^= int.from_bytes(shard.translate(PRODUCTS[weight]), "little")
    return total.to_bytes(length, "little")


def combineRowsPlain(rows: Sequence[bytes], shards: Sequence[bytes], length: int) -> list[bytes]:
    """``combine`` with each of ``rows``, which has a weight for each shard.  Raises OverflowError as that does; compiled,
    wherever a shard is longer than ``length``."""
    return [combine(weights, shards, length) for weights in rows]


combineRows: Callable[[Sequence[bytes], Sequence[bytes], int], list[bytes]]
combineRows = combineRowsPlain if native is None else native.combineRows
