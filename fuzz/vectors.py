"""Material for seeds: the captured sessions of Go peers (tests/vectors), layer by layer."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))  # where the loaders of vectors are

import vectorfiles
from vectorstreams import DIRECTIONS, kcpStream

from kcpstack.batch import inboundBatch
from kcpstack.ciphers import derivePass, findCipher

__all__ = ["DIRECTIONS", "INSIDE", "VECTORS", "opened", "sealed", "stream"]

VECTORS = {name: vectorfiles.load(name) for name in vectorfiles.names()}

# One of each kind of what is inside the cipher: with FEC and without, smux 1 and 2, compressed and plain.
INSIDE = (
    "aes_fec0-0_smux1_nocomp",
    "aes_fec10-3_smux1_comp",
    "aes_fec10-3_smux2_nocomp",
    "null_fec3-2_smux2_comp",
)


def sealed(name: str, direction: str) -> list[bytes]:
    """The datagrams of one direction as they were on the wire."""
    datagrams = VECTORS[name]["datagrams"]
    return [bytes.fromhex(datagram["hex"]) for datagram in datagrams if datagram["dir"] == direction]


def opened(name: str, direction: str) -> list[bytes]:
    """The same, decrypted."""
    vector = VECTORS[name]
    batch = inboundBatch(sealed(name, direction))
    findCipher(vector["crypt"]).build(derivePass(vector["key"]), bytes).openBatch(batch)
    return [bytes(datagram) for datagram in batch]


@cache
def stream(name: str, direction: str) -> bytes:
    """What KCP carried."""
    return kcpStream(name, direction)
