"""KCP segments on the wire: 24 bytes of header, little endian, then the data.

::

    conv u32 | cmd u8 | frg u8 | wnd u16 | ts u32 | sn u32 | una u32 | len u32 | data

Source: docs/wire.rst, "KCP".  Several segments may share one datagram.  Compiled with segment.pxd, which has
the primitives under ``not cython.compiled`` in C (docs/kernels.rst).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

try:
    import cython
except ImportError:
    from kcpstack.kernels import interpreted as cython

from kcpstack.batch import Batch, BytesLike

__all__ = [
    "ASK", "ACK", "HEADER", "MASK", "Glimpse", "OVERHEAD", "PUSH", "Packer", "TELL",
    "glimpse", "glimpses", "isWhole", "nearest",
]  # fmt: skip

HEADER = struct.Struct("<IBBHIIII")  # conv, cmd, frg, wnd, ts, sn, una, len
OVERHEAD = HEADER.size
MASK = 0xFFFFFFFF  # sn, una and ts are counted modulo 2**32 on the wire

PUSH = 81  # data
ACK = 82  # acknowledges the push with this sn; ts is that push's own
ASK = 83  # what is your window?
TELL = 84  # my window is wnd

# Of a module's constants C sees only those that it has in its .pxd, and other modules only those that are not there.
_OVERHEAD = OVERHEAD
_MASK = MASK
_HALF = 1 << 31
_MODULUS = 1 << 32

if not cython.compiled:

    def copied(buffer: bytearray, start: int, end: int) -> bytes:
        """``buffer[start:end]``, which must be inside."""
        return bytes(buffer[start:end])

    def copyIn(buffer: bytearray, at: int, data: BytesLike, length: int) -> None:
        """Put ``data``, of ``length`` bytes, into ``buffer`` from ``at`` on, where there must be room for it."""
        buffer[at : at + length] = data

    readHeader = HEADER.unpack_from
    putHeader = HEADER.pack_into


def nearest(wire: int, reference: int) -> int:
    """The number with the low 32 bits ``wire`` that lies nearest to ``reference``.

    Inside, sequence numbers never wrap: this widens what arrives.  May be negative."""
    distance = (wire - reference) & _MASK
    if distance >= _HALF:
        distance -= _MODULUS
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
    if end - start < OVERHEAD:
        return None
    conv, cmd, _frg, _wnd, ts, sn, una, length = HEADER.unpack_from(buffer, start)
    if not PUSH <= cmd <= TELL or length > end - start - OVERHEAD:
        return None
    return Glimpse(conv, cmd, sn, una, ts)


def glimpses(buffer: BytesLike, start: int, end: int) -> Iterator[Glimpse]:
    """Look at all segments of a KCP datagram, as far as these bytes can be any."""
    seen = glimpse(buffer, start, end)
    while seen is not None:
        yield seen
        start += OVERHEAD + HEADER.unpack_from(buffer, start)[-1]
        seen = glimpse(buffer, start, end)


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
    """Appends datagrams to ``batch``, each filled up to ``mtu`` bytes, one segment after the other.

    Raises ValueError where the batch has no room for datagrams of ``mtu`` bytes.  The last datagram is begun and
    not done until ``finish``."""

    __slots__ = ("done", "_batch", "_mtu", "_start", "_size")

    def __init__(self, batch: Batch, mtu: int) -> None:
        if mtu > batch.stride - batch.headroom:
            raise ValueError(f"datagrams of {mtu} bytes do not fit slots of {batch.stride - batch.headroom}")
        self.done = 0  # datagrams that are finished
        self._batch = batch
        self._mtu = mtu
        self._start = 0
        self._size = 0  # of the datagram that is begun; 0: none is

    def put(self, conv: int, cmd: int, window: int, ts: int, sn: int, una: int, data: BytesLike = b"") -> None:
        """Add a segment: its fields, of 32 bits but for cmd and window, and its data."""
        length = len(data)
        at = self._begin(_OVERHEAD + length)
        putHeader(self._batch.buffer, at, conv, cmd, 0, window, ts, sn, una, length)
        if length:
            copyIn(self._batch.buffer, at + _OVERHEAD, data, length)

    def _begin(self, size: int) -> int:
        """Where in the buffer the next ``size`` bytes go."""
        if self._size and self._size + size > self._mtu:
            self.finish()
        if not self._size:
            self._start = self._batch.allocate(self._mtu)
        at = self._start + self._size
        self._size += size
        return at

    def finish(self) -> None:
        """Let the datagram end that is begun, if any."""
        if self._size:
            self._batch.ends[-1] = self._start + self._size
            self._size = 0
            self.done += 1
