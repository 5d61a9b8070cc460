"""smux frames: how they look on the wire (docs/wire: "smux").  No state of streams, no I/O.

    version u8 | command u8 | length u16 | stream id u32 | payload        little endian

The version is 1 or 2, the same in all frames of a session and in both directions.
"""

from __future__ import annotations

import struct

__all__ = [
    "SYN",
    "FIN",
    "PSH",
    "NOP",
    "UPD",
    "HEADER_SIZE",
    "MAX_PAYLOAD",
    "VERSIONS",
    "Frame",
    "FrameDecoder",
    "encodeHeader",
    "encodeUpdate",
    "decodeUpdate",
]

SYN = 0  # opens a stream
FIN = 1  # ends the sender's direction of a stream
PSH = 2  # bytes of a stream
NOP = 3  # a sign of life
UPD = 4  # how much the receiver has consumed, and its window; version 2 only

VERSIONS = (1, 2)
HEADER_SIZE = 8
MAX_PAYLOAD = 65535  # what the length field can say

_HEADER = struct.Struct("<BBHI")
_UPDATE = struct.Struct("<II")
_FIXED_LENGTHS = {SYN: 0, FIN: 0, NOP: 0, UPD: _UPDATE.size}

Frame = tuple[int, int, memoryview]  # command, stream id, payload


def encodeHeader(version: int, command: int, streamID: int, length: int = 0) -> bytes:
    """The 8 bytes in front of ``length`` bytes of payload."""
    return _HEADER.pack(version, command, length, streamID)


def encodeUpdate(streamID: int, consumed: int, window: int) -> bytes:
    """A whole UPD frame.  ``consumed`` counts bytes modulo 2**32; ``window`` is in bytes."""
    return _HEADER.pack(2, UPD, _UPDATE.size, streamID) + _UPDATE.pack(consumed, window)


def decodeUpdate(payload: memoryview) -> tuple[int, int]:
    """(consumed, window) of an UPD frame's payload."""
    consumed, window = _UPDATE.unpack(payload)
    return consumed, window


class FrameDecoder:
    """Frames from a byte stream cut anywhere.

    ``version`` is the version that is spoken: the one given, or None until the first frame shows
    it.  ``error`` is None, or the text that says how the peer broke the protocol; after that the
    decoder returns nothing more.  Both depend on the bytes alone, not on how they were cut.

    Kept between calls: at most one unfinished frame.
    """

    def __init__(self, version: int | None = None) -> None:
        self.version = version
        self.error: str | None = None
        self._pieces: list[bytes] = []
        self._held = 0  # bytes in _pieces
        self._needed = HEADER_SIZE  # bytes that must be held before there is anything to do

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, in order.  Payloads are views of the delivery: they
        stay valid, and keep all of it alive, for as long as they are held."""
        if self.error is not None:
            return []
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return []
        delivery = b"".join(self._pieces)
        frames: list[Frame] = []
        rest = delivery[self._decode(delivery, frames) :]
        self._pieces = [rest] if rest and self.error is None else []
        self._held = len(rest)
        return frames

    def _decode(self, delivery: bytes, frames: list[Frame]) -> int:
        """Append the complete frames of ``delivery``; return where the unfinished one begins."""
        view = memoryview(delivery)
        end = len(delivery)
        position = 0
        self._needed = HEADER_SIZE
        while end - position >= HEADER_SIZE:
            version, command, length, streamID = _HEADER.unpack_from(delivery, position)
            if version != self.version or command != PSH:
                self._check(version, command, length)
                if self.error is not None:
                    return end
            payload = position + HEADER_SIZE
            if end - payload < length:
                self._needed = HEADER_SIZE + length
                return position
            position = payload + length
            frames.append((command, streamID, view[payload:position]))
        return position

    def _check(self, version: int, command: int, length: int) -> None:
        if self.version is None and version in VERSIONS:
            self.version = version
        if version != self.version:
            self.error = f"a smux frame of version {version}, expected {self.version or '1 or 2'}"
        elif command == PSH:
            return
        elif command not in _FIXED_LENGTHS or (command == UPD and version == 1):
            self.error = f"smux command {command}, which version {version} does not have"
        elif length != _FIXED_LENGTHS[command]:
            self.error = f"smux command {command} with {length} bytes"
