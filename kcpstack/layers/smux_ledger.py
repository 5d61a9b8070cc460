"""Which bytes of a session's streams the peer has not acknowledged: asked for when a session is closed.

KCP acknowledges bytes of its own, which are smux frames, perhaps compressed.  What each write to the
session became is kept here until it is acknowledged, so that the end of it can be counted back from
what KCP still has.
"""

from __future__ import annotations

from collections import deque

from kcpstack.interfaces import IARQ

__all__ = ["Frames", "Ledger"]

# The frames of one write that carry application data: where each ends in it, and its payload, in bytes.
Frames = list[tuple[int, int]]


class Ledger:
    """Writes to one session that ``arq`` may not have had acknowledged yet.

    Call ``begin`` and ``wrote`` around each write.  Kept: some 200 bytes for each write of 16 KiB that is
    unacknowledged, and as many again."""

    def __init__(self, arq: IARQ) -> None:
        self._arq = arq
        self._before = 0
        self._writes: deque[tuple[int, int, Frames]] = deque()  # KCP's bytes, smux's, its frames
        self._length = 0  # KCP's bytes in _writes
        self._lookAgain = WRITES_MIN
        self._total = 0  # KCP's bytes, ever
        self._marked = 0  # of these, those that ``markOutstanding`` is about
        self._marking = False

    def begin(self) -> None:
        """A write follows."""
        self._before = self._arq.unsent

    def wrote(self, size: int, frames: Frames) -> None:
        """A write of ``size`` smux bytes, with these ``frames``, has gone to the session."""
        length = self._arq.unsent - self._before
        self._writes.append((length, size, frames))
        self._length += length
        self._total += length
        if self._marking:
            self._marking = False
            self._marked = self._total
        if len(self._writes) >= self._lookAgain:
            self._forgetAcknowledged()

    def mark(self) -> None:
        """Remember what has been written so far, and the write that is being made."""
        self._marked = self._total
        self._marking = True

    @property
    def markOutstanding(self) -> bool:
        """Whether the peer has not acknowledged all that ``mark`` was last called for."""
        return self._total - _outstanding(self._arq) < self._marked

    def unacknowledged(self) -> int:
        """Bytes of applications in what was written and is not acknowledged.  Of a compressed write that
        is acknowledged in part all are counted: the peer may be able to restore none."""
        rest = _outstanding(self._arq)
        count = 0
        for length, size, frames in reversed(self._writes):
            if rest <= 0:
                break
            acknowledged = size - rest if length == size else 0
            count += sum(min(payload, max(0, end - acknowledged)) for end, payload in frames)
            rest -= length
        return count

    def _forgetAcknowledged(self) -> None:
        outstanding = _outstanding(self._arq)
        writes = self._writes
        while writes and self._length - writes[0][0] >= outstanding:
            self._length -= writes.popleft()[0]
        self._lookAgain = max(WRITES_MIN, 2 * len(writes))


def _outstanding(arq: IARQ) -> int:
    """Bytes written to KCP and not acknowledged."""
    return arq.unsent + sum(len(segment.data) for segment in arq.inFlight(0, arq.unacknowledged))


WRITES_MIN = 64  # writes; asking KCP costs as much as its window is long
