"""What one smux stream counts and keeps: queued bytes, and the windows of version 2.

Version 2 gives each direction of a stream a window (docs/wire: "smux").  The receiver tells in
UPD frames how many bytes its application has consumed, modulo 2**32, and how large its window is;
the sender may have that many bytes outstanding beyond what was consumed.  Version 1 has none of
this: its windows never close and are never told.
"""

from __future__ import annotations

import sys
from collections import deque

from kcpstack.batch import BytesLike

__all__ = ["ByteQueue", "SendWindow", "ReceiveWindow", "INITIAL_WINDOW"]

INITIAL_WINDOW = 262144  # bytes; the protocol's window before the first UPD
SMALL_PIECE = 2048  # bytes; smaller ones are joined, so that one-byte pieces cost no object each
MODULUS = 1 << 32
NO_LIMIT = sys.maxsize


class ByteQueue:
    """Bytes in order, kept as the pieces they came in.  ``length`` is their sum."""

    __slots__ = ("length", "_pieces")

    def __init__(self) -> None:
        self.length = 0
        self._pieces: deque[BytesLike] = deque()

    def append(self, data: bytes) -> None:
        """Add bytes at the end, without a copy unless they are few."""
        pieces = self._pieces
        if pieces and len(data) < SMALL_PIECE and len(pieces[-1]) < SMALL_PIECE:
            pieces[-1] = b"".join((pieces[-1], data))
        else:
            pieces.append(data)
        self.length += len(data)

    def take(self, limit: int) -> list[BytesLike]:
        """Remove the first ``limit`` bytes, or all if they are fewer, and return them as
        bytes-like pieces."""
        taken: list[BytesLike] = []
        pieces = self._pieces
        while limit > 0 and pieces:
            piece = pieces[0]
            if len(piece) > limit:
                view = memoryview(piece)
                pieces[0] = view[limit:]
                piece = view[:limit]
            else:
                pieces.popleft()
            taken.append(piece)
            limit -= len(piece)
            self.length -= len(piece)
        return taken

    def clear(self) -> None:
        self._pieces.clear()
        self.length = 0


class SendWindow:
    """How much we may send on one stream."""

    __slots__ = ("_bounded", "_sent", "_consumed", "_size")

    def __init__(self, version: int) -> None:
        self._bounded = version == 2
        self._sent = 0
        self._consumed = 0
        self._size = INITIAL_WINDOW

    @property
    def outstanding(self) -> int:
        """Bytes sent that the peer has not told us to have been consumed."""
        return (self._sent - self._consumed) % MODULUS

    @property
    def credit(self) -> int:
        """Bytes that may be sent now; 0 or less for none."""
        return self._size - self.outstanding if self._bounded else NO_LIMIT

    def sent(self, count: int) -> None:
        self._sent = (self._sent + count) % MODULUS

    def updated(self, consumed: int, size: int) -> bool:
        """Take in an UPD.  Returns False, and changes nothing, where more is said to have been
        consumed than was sent."""
        if (consumed - self._consumed) % MODULUS > self.outstanding:
            return False
        self._consumed = consumed
        self._size = size
        return True


class ReceiveWindow:
    """How much the peer may send us on one stream, and when to tell it."""

    __slots__ = ("_bounded", "_size", "_consumed", "_untold", "_told")

    def __init__(self, version: int, size: int) -> None:
        """``size`` is what we advertise, in bytes."""
        self._bounded = version == 2
        self._size = size
        self._consumed = 0
        self._untold = 0  # consumed since the last report
        self._told = False

    @property
    def limit(self) -> int:
        """Bytes that a peer which keeps to its window can have waiting here at most."""
        return max(self._size, INITIAL_WINDOW) if self._bounded else NO_LIMIT

    def consumed(self, count: int) -> bool:
        """Count bytes handed to the stream's protocol.  True where an UPD is due: at the first
        ones, and then for each half of the window."""
        self._untold += count
        return self._bounded and (not self._told or self._untold >= self._size // 2)

    def report(self) -> tuple[int, int]:
        """(consumed, window) for an UPD that leaves now."""
        self._told = True
        self._consumed = (self._consumed + self._untold) % MODULUS
        self._untold = 0
        return self._consumed, self._size
