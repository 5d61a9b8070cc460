"""Forward error correction: parity datagrams on the way down, lost datagrams rebuilt on the way up.

Optional, one for each session, between KCP and crypt (neither of which it knows).  ``FECEncoder``
puts a header in front of each datagram and adds p parity datagrams after every d; ``FECDecoder``
takes the headers off, and rebuilds what was lost as soon as any d of such a group have arrived.

On the wire, little endian::

    seqid u32 | type u16 = 0xf1 | size u16 | KCP datagram      data; size counts itself: 2 + length
    seqid u32 | type u16 = 0xf2 | parity                       parity, as long as the longest size | KCP
    ffffffff  | type u16 = 0xf3 | ...                          out of band: not for KCP

A datagram with none of these types is a plain KCP datagram (whose byte 4 is 81 to 84).  seqid counts
all shards, and wraps at a multiple of n = d + p; a shard's index in its group is seqid mod n.

Source: docs/wire.rst, "FEC"; docs/fec.rst tells how the receiver learns (d, p) and what is bounded.  Compiled with fec.pxd
(docs/kernels.rst).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

try:
    import cython
except ImportError:
    from kcpstack.kernels import interpreted as cython

from kcpstack.batch import Batch, BytesLike, inboundBatch
from kcpstack.counters import Counters
from kcpstack.interfaces import IErasureCode
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.layers.fec_groups import SIZE_FIELD, Groups, distance, modulus
from kcpstack.layers.fec_layout import LayoutSearch

__all__ = ["FEC_HEADER", "FECDecoder", "FECEncoder", "payloadStart"]

FEC_HEADER = 8  # bytes in front of a KCP datagram
SHARD_HEADER = 6  # bytes in front of a shard: a data shard begins with its size field
DATA, PARITY, OUT_OF_BAND = 0xF1, 0xF2, 0xF3
MASK = 0xFFFFFFFF

# Milliseconds of silence before a group's last datagram after which its parity is left out: by then
# KCP has sent again what was lost.  As Go's.
GROUP_GAP = 500

# Seqids this far from the newest one can be neither reordering nor loss worth bridging...
REACH = 4096
# ... and this many of them in a row mean that the sequence itself has moved.  One may be a forgery.
STRAYS_MAX = 8

# A sender that changes its parameters jumps by this much, so that the receiver notices even if it
# does not see the first shards, and never takes shards of two layouts for one group.
LEAP = 2 * REACH

# Bytes; a longer shard is not kept.  No peer sends longer datagrams (Go's limit and ours), and what a
# session can be made to keep is bounded by it.
SHARD_MAX = 1500

# Shards held while the sender's parameters are not known yet, so that the first groups are not lost.
HELD_SHARDS = 64

_TYPED = struct.Struct("<IH")  # seqid, type
_SIZED = struct.Struct("<IHH")  # seqid, type, size

# For C, as in kcpstack/kernels/segment.py.
_HEADER, _SHARD, _SIZE, _REACH, _LONGEST = FEC_HEADER, SHARD_HEADER, SIZE_FIELD, REACH, SHARD_MAX
_DATA, _PARITY, _OUT_OF_BAND = DATA, PARITY, OUT_OF_BAND

if not cython.compiled:
    from kcpstack.kernels.segment import copied

    readTyped = _TYPED.unpack_from
    putSized = _SIZED.pack_into

# Makes a code of (data shards, parity shards), any two with a sum of at most 256.
NewCode = Callable[[int, int], IErasureCode]


def payloadStart(buffer: BytesLike, start: int, end: int) -> int | None:
    """Where the KCP datagram begins in the opened datagram ``buffer[start:end]``, with FEC or
    without; None where it carries none."""
    if end - start < SHARD_HEADER:
        return start
    kind = _TYPED.unpack_from(buffer, start)[1]
    if kind == DATA:
        return start + FEC_HEADER if end - start >= FEC_HEADER else None
    return None if kind in (PARITY, OUT_OF_BAND) else start


class FECEncoder:
    """The way down.  Off while either parameter is 0.

    ``newCode`` raises ValueError for parameters that no code has; so do ``__init__`` and
    ``reconfigure``."""

    def __init__(self, dataShards: int = 0, parityShards: int = 0, newCode: NewCode = ReedSolomon) -> None:
        self._newCode = newCode
        self._code: IErasureCode | None = None
        self._dataShards = 0  # its own
        self._next = 0  # the next seqid
        self._modulus = 0
        self._shards: list[bytes] = []  # the data shards of the unfinished group
        self._latest: float | None = None  # when the latest shard left
        self.reconfigure(dataShards, parityShards)

    @property
    def parameters(self) -> tuple[int, int] | None:
        """(d, p), or None while it is off."""
        return None if self._code is None else (self._code.dataShards, self._code.parityShards)

    def reconfigure(self, dataShards: int, parityShards: int) -> None:
        """Use these parameters from the next datagram on; FEC goes off where either is 0.

        The unfinished group gets no parity.  The next one begins at a multiple of the new n, far
        from the seqids used so far: no receiver can take shards of both for one group."""
        if self.parameters == (dataShards, parityShards):
            return
        code = None if 0 in (dataShards, parityShards) else self._newCode(dataShards, parityShards)
        self._code = code
        self._dataShards = 0 if code is None else code.dataShards
        self._shards = []
        if code is None:
            return
        total = dataShards + parityShards
        self._modulus = modulus(total)
        if self._latest is not None:
            least = (self._next + LEAP) & MASK
            self._next = -(-least // total) * total % self._modulus

    def encode(self, batch: Batch, now: float) -> None:
        """Give each datagram of an outbound batch its header, and put parity where groups end.

        Each datagram has FEC_HEADER bytes of room, and the batch's slots are wide enough for the
        longest datagram of the unfinished group (else ValueError).  Work is bounded by the batch, at
        the code's price for each group that ends in it."""
        code = self._code
        if code is None:
            return
        datagrams = zip(batch.starts, batch.ends)
        batch.starts, batch.ends = [], []
        for start, end in datagrams:
            if not _HEADER <= start <= end <= len(batch.buffer):
                raise IndexError(f"a datagram from {start} to {end} in a buffer of {len(batch.buffer)} bytes")
            putSized(batch.buffer, start - _HEADER, self._next, _DATA, end - start + _SIZE)
            self._next += 1
            self._shards.append(copied(batch.buffer, start - _SIZE, end))
            batch.starts.append(start - _HEADER)
            batch.ends.append(end)
            if len(self._shards) == self._dataShards:
                self._finishGroup(code, batch, now)
            self._latest = now

    def _finishGroup(self, code: IErasureCode, batch: Batch, now: float) -> None:
        if self._latest is None or now - self._latest < GROUP_GAP:
            for seqid, shard in enumerate(code.encode(self._shards), self._next):
                start = batch.allocate(len(shard) - SIZE_FIELD) - FEC_HEADER
                batch.starts[-1] = start
                _TYPED.pack_into(batch.buffer, start, seqid, PARITY)
                batch.buffer[start + SHARD_HEADER : batch.ends[-1]] = shard
        self._next = (self._next + code.parityShards) % self._modulus
        self._shards = []


class FECDecoder:
    """The way up.  Needs no parameters: it learns the sender's from what arrives, and rebuilds
    nothing until they are certain.

    Memory is bounded by HELD_SHARDS shards before, and by d - 1 for each of KEPT_GROUPS groups
    after, whatever arrives."""

    def __init__(self, counters: Counters, newCode: NewCode = ReedSolomon) -> None:
        self._counters = counters
        self._newCode = newCode
        self._newest: int | None = None  # the farthest seqid of the sequence
        self._strays: list[int] = []  # seqids in a row that were not near it
        self._groups: Groups | None = None  # once the layout is known; until then, these three:
        self._search = LayoutSearch()
        self._held: deque[tuple[int, bool, bytes]] = deque()
        self._since: int | None = None  # every shard from this seqid on is held

    @property
    def parameters(self) -> tuple[int, int] | None:
        """The sender's (d, p), where no others can explain what has arrived; None before that, and
        again once something contradicts them."""
        return None if self._groups is None else self._groups.layout

    @property
    def heard(self) -> bool:
        """Whether any shard has ever arrived."""
        return self._newest is not None

    @property
    def shardsHeld(self) -> int:
        """How many shards are kept now."""
        return len(self._held) if self._groups is None else self._groups.shardsHeld

    def decode(self, batch: Batch) -> tuple[Batch, Batch]:
        """Return (arrived, recovered): the KCP datagrams in ``batch``, which is changed in place to
        hold no others, and another batch of those rebuilt, none of which has come up before.

        Never raises, whatever the bytes.  Work is bounded by the batch, and rebuilding by the
        code's price for the groups that it completes."""
        for seqid, isParity, shard in self._strip(batch):
            if len(shard) > _LONGEST:
                self._counters.FECErrs += 1
            elif self._inSequence(seqid):
                self._take(seqid, isParity, shard)
        recovered: list[bytes] = []
        if self._groups is not None and self._groups.changed:
            rebuilt = self._groups.rebuild()
            if rebuilt is None:
                self._mistrust()
            else:
                recovered = rebuilt
                self._counters.FECRecovered += len(recovered)
        return batch, inboundBatch(recovered)

    def _strip(self, batch: Batch) -> list[tuple[int, bool, bytes]]:
        """Leave the KCP datagrams in ``batch``; return all shards as (seqid, isParity, copy)."""
        buffer = batch.buffer
        shards: list[tuple[int, bool, bytes]] = []
        starts: list[int] = []
        ends: list[int] = []
        parity = 0
        for start, end in zip(batch.starts, batch.ends):
            if not 0 <= start <= end <= len(buffer):
                raise IndexError(f"a datagram from {start} to {end} in a buffer of {len(buffer)} bytes")
            seqid = kind = 0
            if end - start >= _SHARD:
                seqid, kind = readTyped(buffer, start)
            shard = start + _SHARD
            if kind == _DATA:
                size = buffer[shard] | buffer[shard + 1] << 8 if end - shard >= _SIZE else 0
                if not _SIZE <= size <= end - shard:
                    self._counters.InErrs += 1
                    continue
                starts.append(shard + _SIZE)
                ends.append(shard + size)
                shards.append((seqid, False, copied(buffer, shard, shard + size)))
            elif kind == _PARITY:
                if end - shard < _SIZE:
                    self._counters.InErrs += 1
                    continue
                parity += 1
                shards.append((seqid, True, copied(buffer, shard, end)))
            elif kind == _OUT_OF_BAND:
                self._counters.OOBPackets += 1
            else:
                starts.append(start)
                ends.append(end)
        self._counters.FECParityShards += parity
        batch.starts, batch.ends = starts, ends
        return shards

    def _inSequence(self, seqid: int) -> bool:
        """Whether ``seqid`` is near the others.  Many in a row that are not: start again there."""
        if self._newest is None:
            self._newest = seqid
        ahead = distance(self._newest, seqid)
        if not -_REACH < ahead < _REACH:
            self._strays.append(seqid)
            self._counters.FECErrs += 1
            if len(self._strays) < STRAYS_MAX:
                return False
            self._newest = max([(distance(seqid, stray), stray) for stray in self._strays])[1]
            self._learn(self._newest + 1)
        elif ahead > 0:
            self._newest = seqid
        if self._strays:
            self._strays.clear()
        return True

    def _take(self, seqid: int, isParity: bool, shard: bytes) -> None:
        if self._groups is not None:
            if not self._groups.take(seqid, isParity, shard):
                self._mistrust()
            return
        if not self._search.observe(seqid, isParity):
            self._mistrust()
            return
        self._hold(seqid, isParity, shard)
        layout = self._search.layout
        if layout is not None:
            try:
                code = self._newCode(*layout)
            except ValueError:  # a layout that this code has not: its data needs no code
                self._mistrust()
                return
            self._groups = Groups(code, self._counters, self._since)
            for held in self._held:
                self._groups.take(held[0], held[1], held[2])
            self._held.clear()

    def _hold(self, seqid: int, isParity: bool, shard: bytes) -> None:
        """Keep a shard until the layout is known."""
        self._held.append((seqid, isParity, shard))
        if len(self._held) > HELD_SHARDS:
            dropped = self._held.popleft()[0]
            if self._since is None or distance(self._since, dropped) >= 0:
                self._since = dropped + 1

    def _mistrust(self) -> None:
        """What was learned, or all that could be, is contradicted.  The shard that did it may be
        forged: it is not among those that are learned from next."""
        assert self._newest is not None
        self._counters.FECErrs += 1
        self._learn(self._newest + 1)

    def _learn(self, since: int) -> None:
        """Learn the layout from the next shard on, and leave groups that begin before ``since``."""
        self._groups = None
        self._search = LayoutSearch()
        self._held.clear()
        self._since = since
        self._counters.FECShardSet = 0
