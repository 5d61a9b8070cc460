"""smux frames (kcpstack/layers/smux_frames.py), beside a decoder written straight from docs/wire.rst."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fuzz.records import Fields
from fuzz.vectors import DIRECTIONS, INSIDE, stream
from kcpstack.layers.smux_frames import FIN, HEADER_SIZE, MAX_PAYLOAD, NOP, PSH, SYN, UPD, FrameDecoder

LENGTHS = {SYN: 0, FIN: 0, NOP: 0, UPD: 8}


def check(data: bytes) -> None:
    """However the bytes are cut: the model's frames and version, and an error at the same place."""
    fields = Fields(data)
    version = fields.pick((None, 1, 2))
    pieces = fields.pieces()
    expected = modelled(b"".join(pieces), version)
    for cuts in (pieces, [b"".join(pieces)]):
        decoder = FrameDecoder(version)
        frames: list[Any] = []
        for piece in cuts:
            frames += [
                (command, streamID, bytes(payload)) for command, streamID, payload in decoder.feed(piece)
            ]
            assert decoder._held < HEADER_SIZE + MAX_PAYLOAD, "more than one unfinished frame is kept"
        assert (frames, decoder.version, decoder.error is not None) == expected
        assert decoder.error is None or decoder.feed(b"\1\3\0\0\0\0\0\0") == []


def modelled(data: bytes, version: int | None) -> tuple[list[Any], int | None, bool]:
    """The frames in front of the first error, the version, and whether there is an error."""
    frames: list[Any] = []
    while len(data) >= HEADER_SIZE:
        if version is None and data[0] in (1, 2):
            version = data[0]
        command, length = data[1], int.from_bytes(data[2:4], "little")
        known = command == PSH or LENGTHS.get(command) == length
        if data[0] != version or not known or (command == UPD and version == 1):
            return frames, version, True
        if len(data) < HEADER_SIZE + length:
            break
        payload = data[HEADER_SIZE : HEADER_SIZE + length]
        frames.append((command, int.from_bytes(data[4:HEADER_SIZE], "little"), payload))
        data = data[HEADER_SIZE + length :]
    return frames, version, False


def seeds() -> Iterator[bytes]:
    for name in INSIDE:
        if name.endswith("nocomp"):
            for direction in DIRECTIONS:
                yield b"\0" + stream(name, direction)[:600]
    yield b"\2" + b"".join(
        bytes([2, command, length, 0, 3, 0, 0, 0]) + bytes(length) for command, length in LENGTHS.items()
    )
