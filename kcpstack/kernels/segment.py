"""KCP segments on the wire: 24 bytes of header, little endian, then the data.

::

    conv u32 | cmd u8 | frg u8 | wnd u16 | ts u32 | sn u32 | una u32 | len u32 | data

Source: docs/wire.rst, "KCP".  Several segments may share one datagram.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from kcpstack.batch import Batch, BytesLike

__all__ = ["ASK", "ACK", "HEADER", "MASK", "Glimpse", "OVERHEAD", "PUSH", "Packer", "TELL", "glimpse", "glimpses", "isWhole", "nearest"]

HEADER = struct.Struct("<IBBHIIII")  # conv, cmd, frg, wnd, ts, sn, una, len
OVERHEAD = HEADER.size
MASK = 0xFFFFFFFF  # sn, una and ts are counted modulo 2**32 on the wire

PUSH = 81  # data
ACK = 82  # acknowledges the push with this sn; ts is that push's own
ASK = 83  # what is your window?
TELL = 84  # my window is wnd


def nearest(wire: int, reference: int) -> int:
    """The number with the low 32 bits ``wire`` that lies nearest to ``reference``.

    Inside, sequence numbers never wrap: this widens what arrives.  May be negative."""
    distance = (wire - reference) & MASK
    if distance >= 0x80000000:
        distance -= 0x100000000
    return reference + distance


class Glimpse(NamedTuple):
    """What a segment shows: numbers as on the wire."""

    conv: int
    cmd: int
    sn: int
    una: int
    ts: int = 0


def glimpse(buffer: BytesLike, start: int, end: int) -> Glimpse | None:
    """Look at the first segment of the KCP datagram ``buffer[start:end]``; None where these bytes cannot be one."""
    return next(glimpses(buffer, start, end), None)


def glimpses(buffer: BytesLike, start: int, end: int) -> Iterator[Glimpse]:
    """Look at all segments of a KCP datagram, as far as these bytes can be any."""
    while end - start >= OVERHEAD:
        conv, cmd, _frg, _wnd, ts, sn, una, length = HEADER.unpack_from(buffer, start)
        start += OVERHEAD + length
        if not PUSH <= cmd <= TELL or start > end:
            return
        yield Glimpse(conv, cmd, sn, una, ts)


def isWhole(buffer: BytesLike, start: int, end: int) -> bool:
    """Whether ``buffer[start:end]`` is segments and nothing else, one at least: random bytes never are."""
    while end - start >= OVERHEAD:
        _conv, cmd, _frg, _wnd, _ts, _sn, _una, length = HEADER.unpack_from(buffer, start)
        if not PUSH <= cmd <= TELL:
            return False
        start += OVERHEAD + length
        if start == end:
            return True
    return False


class Packer:
    """Appends datagrams to ``batch``, each filled up to ``mtu`` bytes, one segment after the other."""

    __slots__ = ("_batch", "_mtu", "_parts", "_size")

    def __init__(self, batch: Batch, mtu: int) -> None:
        self._batch = batch
        self._mtu = mtu
        self._parts: list[BytesLike] = []
        self._size = 0

    def put(self, header: bytes, data: BytesLike = b"") -> None:
        """Add a segment: a packed HEADER and its data (kept until the datagram is full)."""
        size = OVERHEAD + len(data)
        if self._size + size > self._mtu:
            self.finish()
        self._parts.append(header)
        self._parts.append(data)
        self._size += size

    def finish(self) -> None:
        """Append what there is of a datagram."""
        if self._parts:
            self._batch.append(b"".join(self._parts))
            self._parts = []
            self._size = 0
