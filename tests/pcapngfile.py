"""Reads what kcpstack.testing.pcapng writes, strictly: for tests of traces."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6


class Packet(NamedTuple):
    place: str  # the interface's name
    microseconds: int
    tags: dict[int, bytes]  # of the upper PDU
    data: bytes
    leftOff: int  # bytes of it that are not in the file
    outbound: bool | None
    comment: str


class Statistics(NamedTuple):
    place: str
    seen: int
    leftOut: int


def blocks(file: bytes) -> list[tuple[int, bytes]]:
    """(type, body) of every block, with nothing between or behind them."""
    found = []
    while file:
        kind, length = struct.unpack_from("<II", file)
        assert length % 4 == 0 and 12 <= length <= len(file)
        assert file[length - 4 : length] == struct.pack("<I", length)
        found.append((kind, file[8 : length - 4]))
        file = file[length:]
    return found


def optionsOf(body: bytes) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    if not body:
        return options
    while body:
        code, length = struct.unpack_from("<HH", body)
        if code == 0:
            assert body == bytes(4)
            return options
        options[code] = body[4 : 4 + length]
        body = body[4 + length + -length % 4 :]
    raise AssertionError("no end of options")


def tagsOf(data: bytes) -> tuple[dict[int, bytes], bytes]:
    """The tags of an upper PDU, and what is behind them."""
    tags = {}
    while True:
        code, length = struct.unpack_from(">HH", data)
        value, data = data[4 : 4 + length], data[4 + length :]
        assert length % 4 == 0 and len(value) == length
        if code == 0:
            return tags, data
        tags[code] = value


def packets(path: Path) -> list[Packet]:
    return [item for item in items(path.read_bytes()) if isinstance(item, Packet)]


def statistics(path: Path) -> list[Statistics]:
    return [item for item in items(path.read_bytes()) if isinstance(item, Statistics)]


def items(file: bytes) -> list[Packet | Statistics]:
    """Everything in a file but for its descriptions, which must come before what they describe."""
    places: list[str] = []
    found: list[Packet | Statistics] = []
    (first, section), *rest = blocks(file)
    assert first == SECTION and section[:16] == struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    optionsOf(section[16:])
    for kind, body in rest:
        if kind == INTERFACE:
            assert struct.unpack_from("<HH", body) == (252, 0)
            places.append(optionsOf(body[8:])[2].decode())
        elif kind == STATISTICS:
            options = optionsOf(body[12:])
            counts = struct.unpack("<QQ", options[4] + options[5])
            found.append(Statistics(places[struct.unpack_from("<I", body)[0]], *counts))
        else:
            assert kind == PACKET
            found.append(_packet(body, places))
    return found


def _packet(body: bytes, places: list[str]) -> Packet:
    interface, high, low, kept, length = struct.unpack_from("<IIIII", body)
    options = optionsOf(body[20 + kept + -kept % 4 :])
    tags, data = tagsOf(body[20 : 20 + kept])
    outbound = {b"": None, b"\1\0\0\0": False, b"\2\0\0\0": True}[options.get(2, b"")]
    comment = options.get(1, b"").decode()
    return Packet(places[interface], high << 32 | low, tags, data, length - kept, outbound, comment)
