"""What QPP costs: milliseconds to make pads, and MB/s of a stream in writes of several sizes.

    python benchmarks/bench_qpp.py [--pads COUNT ...] [BYTES ...]

*shared* is the beginning of a stream, whose selectors all streams share and have been made before;
*beyond* is what follows.  Each figure is the best of several rounds, which keeps out what else the machine did.
"""

from __future__ import annotations

import argparse
import os
import time

from kcpstack.kernels.qpp import BLOCK_BYTES, SHARED_BLOCKS, Pads

ROUNDS = 5
SHARED = SHARED_BLOCKS * BLOCK_BYTES


def making(count: int) -> tuple[Pads, float]:
    """Pads, and the seconds they took."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        pads = Pads(b"it's a secrect", count)
        best = min(best, time.perf_counter() - begin)
    return pads, best


def crypting(pads: Pads, direction: str, size: int) -> tuple[float, float]:
    """Seconds a byte in pieces of ``size``: in the shared part, and beyond it."""
    best = [float("inf")] * 2
    piece = os.urandom(size)
    for _ in range(ROUNDS):
        end = getattr(pads, direction)()
        for part in range(2):
            begin = time.perf_counter()
            for _ in range(SHARED // size):
                end.crypt(piece)
            best[part] = min(best[part], (time.perf_counter() - begin) / SHARED)
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[16, 1400, 8192, 65536], metavar="BYTES")
    parser.add_argument("--pads", type=int, nargs="+", default=[61, 1021, 65536], metavar="COUNT")
    options = parser.parse_args()
    for count in options.pads:
        pads, seconds = making(count)
        print(f"{count} pads: {1000 * seconds:.0f} ms")
        for size in options.sizes:
            for direction in ("encryptor", "decryptor"):
                shared, beyond = crypting(pads, direction, size)
                print(
                    f"  {direction}, {size:6} bytes: {shared * size * 1e6:6.1f} us a call, "
                    f"{1e-6 / shared:5.0f} MB/s shared, {1e-6 / beyond:5.0f} MB/s beyond"
                )


if __name__ == "__main__":
    main()
