"""Microseconds per datagram to seal and to open batches, for every installed cipher.

    python benchmarks/bench_ciphers.py [--size BYTES] [--count DATAGRAMS] [NAME ...]

``--size`` counts the sealed datagram, ``--count`` the datagrams of one batch.  Each figure is the
best of several rounds, which keeps out what else the machine did.  One adapted to batches from an
IPacketCipher (a class of this file) is measured beside them, to show what the adapter costs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from kcpstack.batch import Batch, inboundBatch, outboundBatch
from kcpstack.ciphers import batchCipher, cipherNames, derivePass, findCipher
from kcpstack.interfaces import IPacketCipher

ROUNDS = 30
BATCHES = 20  # prepared ahead for each round: sealing and opening use a batch up


@implementer(IPacketCipher)
class Nothing:
    """An IPacketCipher that does nothing: all that is measured is the adapter."""

    overhead = 0

    def seal(self, datagram: memoryview) -> bytes:
        return bytes(datagram)

    open = seal


def best(prepare: Callable[[], Batch], work: Callable[[Batch], Any], count: int) -> float:
    """Return the microseconds per datagram of ``work`` on what ``prepare`` makes."""
    least = float("inf")
    for _ in range(ROUNDS):
        batches = [prepare() for _ in range(BATCHES)]
        begin = time.perf_counter()
        for batch in batches:
            work(batch)
        least = min(least, time.perf_counter() - begin)
    return least / BATCHES / count * 1e6


def measure(name: str, cipher: Any, size: int, count: int) -> None:
    cipher = batchCipher(cipher)
    plain = os.urandom(size - cipher.overhead)

    def outbound() -> Batch:
        batch = outboundBatch(size, cipher.overhead)
        for _ in range(count):
            batch.append(plain)
        return batch

    sealed = outbound()
    cipher.sealBatch(sealed)
    arrived = [bytes(datagram) for datagram in sealed]
    sealing = best(outbound, cipher.sealBatch, count)
    opening = best(lambda: inboundBatch(arrived), cipher.openBatch, count)
    print(f"{name:20} seal {sealing:6.2f} us   open {opening:6.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1372)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    print(f"per datagram of {arguments.size} bytes, {arguments.count} in a batch:")
    for name in arguments.names or cipherNames():
        cipher = findCipher(name).build(derivePass("it's a secrect"), os.urandom)
        measure(name, cipher, arguments.size, arguments.count)
    measure("(adapter alone)", Nothing(), arguments.size, arguments.count)


if __name__ == "__main__":
    main()
