"""What Go peers handed to KCP: one direction of a captured session, joined from its push segments."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import vectorfiles

from kcpstack.batch import inboundBatch
from kcpstack.ciphers import derivePass, findCipher

__all__ = ["DIRECTIONS", "isPayload", "kcpStream", "streamsOf"]

DIRECTIONS = ("up", "down")
FEC_DATA, FEC_PARITY = b"\xf1\x00", b"\xf2\x00"
KCP_HEADER = struct.Struct("<IBBHIIII")
PUSH = 81
OURS = ("aes", "aes-128", "aes-192", "none", "null", "xor")


def streamsOf(**settings: Any) -> list[tuple[str, str]]:
    """(name, direction) of each vector of our ciphers with these settings."""
    vectors = {name: vectorfiles.load(name) for name in vectorfiles.names()}
    return [
        (name, direction)
        for name, vector in vectors.items()
        if vector["crypt"] in OURS and all(vector[key] == value for key, value in settings.items())
        for direction in DIRECTIONS
    ]


def kcpStream(name: str, direction: str) -> bytes:
    """The bytes that KCP carried in one direction."""
    vector = vectorfiles.load(name)
    sealed = [bytes.fromhex(d["hex"]) for d in vector["datagrams"] if d["dir"] == direction]
    batch = inboundBatch(sealed)
    findCipher(vector["crypt"]).build(derivePass(vector["key"]), bytes).openBatch(batch)
    pushes: dict[int, bytes] = {}
    for view in batch:
        packet = bytes(view)
        if packet[4:6] == FEC_PARITY:
            continue
        position = 8 if packet[4:6] == FEC_DATA else 0
        while position < len(packet):
            _, cmd, _, _, _, sn, _, length = KCP_HEADER.unpack_from(packet, position)
            position += KCP_HEADER.size + length
            if cmd == PUSH:
                pushes[sn] = packet[position - length : position]
    assert sorted(pushes) == list(range(len(pushes))), "a segment is missing"
    return b"".join(pushes[sn] for sn in range(len(pushes)))


def isPayload(name: str, direction: str, payload: bytes) -> bool:
    """Whether ``payload`` is what the application wrote."""
    return hashlib.sha256(payload).hexdigest() == vectorfiles.load(name)[f"{direction}_payload_sha256"]
