"""What Go peers with QPP sent, and what their applications wrote."""

from __future__ import annotations

import hashlib

import vectorfiles
from vectorstreams import kcpStream, streamsOf

from kcpstack.kernels.qpp import Pads
from kcpstack.layers.smux_frames import PSH, FrameDecoder

__all__ = ["CAPTURED", "captured", "padsOfVector", "written"]

CAPTURED = streamsOf(qpp=61)  # (name, direction) of each


def captured(name: str, direction: str) -> list[bytes]:
    """The payloads of the PSH frames."""
    frames = FrameDecoder(2).feed(kcpStream(name, direction))
    return [bytes(view) for command, _, view in frames if command == PSH]


def written(direction: str) -> bytes:
    """What each application wrote (tests/vectors/README.md)."""
    return b"".join(hashlib.sha256(f"{direction}{i}".encode()).digest() for i in range(188))[:6000]


def padsOfVector(name: str) -> Pads:
    vector = vectorfiles.load(name)
    return Pads(vector["key"].encode(), vector["qpp"])
