"""The receiving half of the ARQ: what arrives is put in order, and owed an ack.

**Acks wait a little, unless something is wrong.**  They leave with data, or when ACK_EVERY have
gathered, or after ``interval``; at once when a segment is out of order or came twice, for the
sender needs to know.

Compiled with reassembly.pxd (docs/kernels.rst).
"""

from __future__ import annotations

from collections import deque

try:
    import cython
except ImportError:
    from kcpstack.kernels import interpreted as cython

from kcpstack.counters import Counters
from kcpstack.kernels.segment import ACK, MASK, Packer, nearest

if not cython.compiled:
    from kcpstack.kernels.segment import copied

__all__ = ["ACKS_KEPT", "REPEATS", "Reassembly"]


class Reassembly:
    """Segments of one direction, from arrival until they are read, and their acks until those leave.

    ``window`` bounds, in segments, what is in order and unread, and what is beyond a hole; ``interval`` (ms) how
    long an ack waits, unless ``ackNoDelay``."""

    def __init__(self, window: int, interval: float, ackNoDelay: bool, counters: Counters) -> None:
        self.nxt = 0  # sn of the next segment in order
        self.unread: deque[bytes] = deque()
        self.early: dict[int, bytes] = {}  # sn: beyond a hole, or beyond what may be unread
        self.ackAt: float | None = None  # when the acks have waited long enough
        self._window = window
        self._interval = interval
        self._ackNoDelay = ackNoDelay
        self._counters = counters
        self._acks: list[tuple[int, int]] = []  # (sn, ts) as they came, both as on the wire
        self._ackNow = False
        self._latest = -1  # ts of the last sending among those that came; -1: none has
        self._repeats = 0
        self._repeating = False
        self._repeatsOf = 0  # how many different segments had come, when a repeat was last counted

    @property
    def repeats(self) -> int:
        """How many pushes came again since the last one that was new."""
        return self._repeats if self._repeatsOf == self.nxt + len(self.early) else 0

    def pushReceived(self, wireSN: int, ts: int, buffer: bytearray, start: int, end: int, now: float) -> None:
        """Take in one segment, numbers as on the wire.  Its data, ``buffer[start:end]``, is copied."""
        sn = nearest(wireSN, self.nxt)
        if sn >= self.nxt + self._window or sn < 0:
            self._counters.RecvWindowDrops += 1
            return
        self._acks.append((wireSN, ts))
        if self.isLater(ts):
            self._latest = ts
        if self.ackAt is None:
            self.ackAt = now + self._interval
        if sn < self.nxt or (self.early and sn in self.early):
            self._counters.RepeatSegs += 1
            self._ackNow = True
            self._repeats = self.repeats + 1
            self._repeatsOf = self.nxt + len(self.early)
            self._repeating = self._repeats >= REPEATS
            return
        data = copied(buffer, start, end)
        if sn == self.nxt and not self.early and len(self.unread) < self._window:
            self.unread.append(data)
            self.nxt += 1
            return
        self.early[sn] = data
        if sn == self.nxt:
            self.deliver()
        if self.early:
            self._ackNow = True  # there is a hole: what came tells the sender where

    def deliver(self) -> None:
        """Move what is in order to the reader, as far as the window lets it wait there."""
        early, unread = self.early, self.unread
        limit = self._window
        while self.nxt in early and len(unread) < limit:
            unread.append(early.pop(self.nxt))
            self.nxt += 1

    def read(self, most: int) -> list[bytes]:
        """Take whole segments in order, until they are ``most`` bytes or more."""
        chunks: list[bytes] = []
        taken = 0
        while self.unread and taken < most:
            chunk = self.unread.popleft()
            taken += len(chunk)
            chunks.append(chunk)
        self.deliver()
        self._counters.BytesReceived += taken
        return chunks

    def freeWindow(self) -> int:
        """What ``wnd`` on the wire should say."""
        return min(max(0, self._window - len(self.unread)), WINDOW_MAX)

    def expects(self, wireSN: int) -> bool:
        """Whether a segment with this sn would bring something new."""
        sn = nearest(wireSN, self.nxt)
        return self.nxt <= sn < self.nxt + self._window and sn not in self.early

    def isLater(self, ts: int) -> bool:
        """Whether a push with this ts (as on the wire) was sent after all that have come: ts grows with each sending,
        or with time, so a peer whose acks are lost repeats what we have with a later one."""
        return self._latest < 0 or 0 < (ts - self._latest) & _MASK < _HALF

    # ------------------------------------------------------------ acks

    def turnOver(self) -> bool:
        """What arrived together has been taken in: see whether its acks should leave at once.
        True where, since the last turn, the sender has repeated itself REPEATS times in a row."""
        acks = self._acks
        if len(acks) >= ACK_EVERY or (acks and self._ackNoDelay):
            self._ackNow = True
            if len(acks) > ACKS_KEPT:
                del acks[:-ACKS_KEPT]
        repeating, self._repeating = self._repeating, False
        return repeating

    def owesAcks(self, now: float, withData: bool) -> bool:
        """Whether acks should leave now: they may always go along ``withData``."""
        return bool(self._acks) and (withData or self._ackNow or (self.ackAt is not None and now >= self.ackAt))

    def putAcks(self, packer: Packer, conv: int, window: int, most: int) -> bool:
        """Append at most ``most`` of the acks that tell the peer something: una covers those below
        ``nxt``, but the last one stays, for its ts.  True where there are more."""
        acks = self._acks
        last = len(acks) - 1
        una, nxt = self.nxt & _MASK, self.nxt
        useful = [ack for index, ack in enumerate(acks) if index == last or nearest(ack[0], nxt) >= nxt]
        self._acks = useful[most:]
        if not self._acks:
            self.ackAt = None
            self._ackNow = False
        for sn, ts in useful[:most]:
            packer.put(conv, ACK, window, ts, sn, una)
        self._counters.OutSegs += min(len(useful), most)
        return bool(self._acks)


WINDOW_MAX = 0xFFFF  # segments; wnd has 16 bits
_HALF = 1 << 31  # of all ts there are: what is farther ahead is behind
_MASK = MASK  # for C, as in kcpstack/kernels/segment.py
ACK_EVERY = 16  # pushes; few enough for the smallest window in use (32), many enough to be cheap
REPEATS = 3  # in a row; a spurious retransmission and a copy made by the network are less
ACKS_KEPT = 4096  # more than default windows hold; where a slow pace lets more wait, the peer repeats itself
