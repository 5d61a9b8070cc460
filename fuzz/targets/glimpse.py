"""The first look at an opened datagram: kcpstack/kernels/segment.py, ``payloadStart``, ``peek``."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.records import Fields
from fuzz.vectors import DIRECTIONS, INSIDE, opened
from kcpstack.batch import outboundBatch
from kcpstack.kernels.segment import HEADER, MASK, OVERHEAD, Packer, glimpse, glimpses, isWhole, nearest
from kcpstack.layers.fec import payloadStart
from kcpstack.stack import looksRight, peek


def check(data: bytes) -> None:
    """A look changes nothing, sees what a model sees, and never what lies outside of the datagram."""
    fields = Fields(data)
    before, behind = fields.below(40), fields.below(40)
    reference = fields.number(5)
    datagram = fields.rest()
    buffer = bytearray(b"\xf1" * before + datagram + b"Q" * behind)
    start, end = before, before + len(datagram)
    unchanged = bytes(buffer)
    seen = list(glimpses(buffer, start, end))
    expected, whole = modelled(datagram)
    assert seen == expected
    assert glimpse(buffer, start, end) == (expected[0] if expected else None)
    assert isWhole(buffer, start, end) == (whole and bool(expected))
    begin = payloadStart(buffer, start, end)
    assert begin is None or start <= begin <= end
    inside = [] if begin is None else modelled(datagram[begin - start :])[0]
    assert peek(buffer, start, end) == (inside[0] if inside else None)
    looksRight(buffer, start, end)
    assert buffer == unchanged
    for one in seen:
        widened = nearest(one.sn, reference)
        assert widened & MASK == one.sn and -0x80000000 <= widened - reference < 0x80000000
    packed(datagram, seen)


def modelled(datagram: bytes) -> tuple[list[tuple[int, ...]], bool]:
    """(conv, cmd, sn, una, ts) of each segment, and whether nothing follows the last."""
    found: list[tuple[int, ...]] = []
    while len(datagram) >= OVERHEAD:
        numbers = [int.from_bytes(datagram[at : at + 4], "little") for at in range(0, OVERHEAD, 4)]
        size = OVERHEAD + numbers[5]
        if datagram[4] not in (81, 82, 83, 84) or len(datagram) < size:
            return found, False
        found.append((numbers[0], datagram[4], numbers[3], numbers[4], numbers[2]))
        datagram = datagram[size:]
    return found, not datagram


def packed(datagram: bytes, seen: list[tuple[int, ...]]) -> None:
    """What a Packer is given, in datagrams of at most its mtu, in order."""
    batch = outboundBatch(1500, 28)
    packer = Packer(batch, 200)
    parts = [
        bytes(HEADER.pack(*one[:2], 0, 0, one[4], one[2], one[3], 5)) + datagram[:5].ljust(5) for one in seen
    ]
    for one, part in zip(seen, parts):
        conv, cmd, sn, una, ts = one
        packer.put(conv, cmd, 0, ts, sn, una, part[OVERHEAD:])
    packer.finish()
    made = [bytes(one) for one in batch]
    assert b"".join(made) == b"".join(parts)
    assert all(len(one) <= 200 and isWhole(one, 0, len(one)) for one in made)


def seeds() -> Iterator[bytes]:
    for name in INSIDE:
        for direction in DIRECTIONS:
            for datagram in opened(name, direction)[:8]:
                yield bytes([5, 7, 1, 0, 0, 0, 0]) + datagram[:300]
