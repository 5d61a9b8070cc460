"""Microseconds per data datagram for FEC, in both directions, at several (d, p).

    python benchmarks/bench_fec.py [--size BYTES] [--batch DATAGRAMS] [D/P ...]

``--size`` counts a data datagram as FEC leaves it, its header included; ``--batch`` the datagrams of
one batch.  *clean* is a path without loss, *lossy* one that loses the first datagram of every group,
so that each group is rebuilt; both begin with learning the parameters.  Each figure is the best of several rounds, which keeps out what else
the machine did.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.layers.fec import FEC_HEADER, FECDecoder, FECEncoder

ROUNDS = 9
GROUPS = 100  # a round


def best(timed: Callable[..., float], *arguments: Any) -> float:
    return min(timed(*arguments) for _ in range(ROUNDS))


def encoding(d: int, p: int, size: int, length: int, out: list[bytes]) -> float:
    """Seconds to encode GROUPS groups in batches of ``length``; what comes out is put into ``out``."""
    encoder = FECEncoder(d, p)
    payloads = [os.urandom(size - FEC_HEADER) for _ in range(GROUPS * d)]
    batch = outboundBatch(size, FEC_HEADER)
    out.clear()
    spent = 0.0
    for first in range(0, len(payloads), length):
        batch.clear()
        for payload in payloads[first : first + length]:
            batch.append(payload)
        begin = time.perf_counter()
        encoder.encode(batch, 0)
        spent += time.perf_counter() - begin
        out += map(bytes, batch)
    return spent


def decoding(datagrams: list[bytes], length: int) -> float:
    """Seconds to decode them in batches of ``length``."""
    decoder = FECDecoder(Counters())
    spent = 0.0
    for first in range(0, len(datagrams), length):
        batch = inboundBatch(datagrams[first : first + length])
        begin = time.perf_counter()
        decoder.decode(batch)
        spent += time.perf_counter() - begin
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1372)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("parameters", nargs="*", default=["10/3", "5/2", "20/10", "70/30"], metavar="D/P")
    options = parser.parse_args()
    print(f"us per data datagram of {options.size} bytes, batches of {options.batch}")
    print(f"{'d/p':>8}{'encode':>10}{'clean':>10}{'lossy':>10}")
    for pair in options.parameters:
        d, p = map(int, pair.split("/"))
        datagrams: list[bytes] = []
        encode = best(encoding, d, p, options.size, options.batch, datagrams)
        lossy = [datagram for i, datagram in enumerate(datagrams) if i % (d + p)]
        figures = (
            encode,
            best(decoding, datagrams, options.batch),
            best(decoding, lossy, options.batch),
        )
        print(f"{pair:>8}" + "".join(f"{seconds / (GROUPS * d) * 1e6:10.2f}" for seconds in figures))


if __name__ == "__main__":
    main()
