"""What crosses between the layers below KCP: an ordered run of datagrams in one buffer.

Batch size decides speed: a turn of the reactor costs the same whatever it carries, one cipher call
can cover many datagrams, and a run of equal datagrams is one GSO send.  So these layers exchange
whole batches and work in place:

- outbound, every datagram is written once, into a slot that has room in front of it; each layer
  further down moves the datagram's start back and writes its header there;
- inbound, each layer further up moves the start forward past the header it has read.

Iterating gives memoryviews, so plain code stays plain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Union

__all__ = ["Batch", "BytesLike", "PeerAddress", "inboundBatch", "outboundBatch"]

BytesLike = Union[bytes, bytearray, memoryview]

# Host (str, numeric), port (int), and what the transport puts behind them, all of it hashable.
PeerAddress = tuple[Any, ...]

SLOT_ALIGNMENT = 16  # bytes; the widest cipher block, so that one cipher call can span all slots


class Batch:
    """Datagrams in order: number ``i`` is ``buffer[starts[i]:ends[i]]``.

    The order of the lists is the order of sending or arrival; it need not be the order in the
    buffer.  Layers edit ``starts`` and ``ends`` and the bytes between, and may replace ``buffer``
    together with both lists.  Slots never overlap; what lies between datagrams means nothing.

    A batch and its buffer belong to whoever made them and are used again after the call that
    passed them on: a layer that wants to keep bytes past its own call copies them.

    ``addresses`` is None, or (only between the datagram transport and the fan-out) one peer
    address for each datagram, as the socket gave it.
    """

    __slots__ = ("buffer", "starts", "ends", "addresses", "stride", "headroom", "_slots")

    def __init__(self, stride: int = 0, headroom: int = 0) -> None:
        self.buffer = bytearray()
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.addresses: list[PeerAddress] | None = None
        self.stride = stride
        self.headroom = headroom
        self._slots = 0

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[memoryview]:
        view = memoryview(self.buffer)
        for start, end in zip(self.starts, self.ends):
            yield view[start:end]

    def __repr__(self) -> str:
        lengths = [end - start for start, end in zip(self.starts, self.ends)]
        return f"<Batch of {len(lengths)}: {lengths}>"

    def clear(self) -> None:
        """Forget the datagrams and keep the buffer for the next ones."""
        self.starts.clear()
        self.ends.clear()
        self.addresses = None
        self._slots = 0

    def allocate(self, length: int) -> int:
        """Append a datagram of ``length`` bytes, content undefined; return where it starts.

        Slots are ``stride`` bytes apart from the beginning of the buffer and the datagram starts
        ``headroom`` bytes into its slot.  The buffer grows by whole slots, which moves it: do not
        hold a memoryview over this call.
        Raises ValueError where ``length`` does not fit the slot.
        """
        if length > self.stride - self.headroom:
            raise ValueError(f"{length} bytes do not fit a slot of {self.stride - self.headroom}")
        begin = self._slots * self.stride
        self._slots += 1
        if len(self.buffer) < begin + self.stride:
            self.buffer.extend(bytes(begin + self.stride - len(self.buffer)))
        start = begin + self.headroom
        self.starts.append(start)
        self.ends.append(start + length)
        return start

    def append(self, datagram: BytesLike) -> None:
        """Append a copy of a datagram.  Raises ValueError where it does not fit."""
        length = len(datagram)
        start = self.allocate(length)
        self.buffer[start : start + length] = datagram


def outboundBatch(size: int, headroom: int) -> Batch:
    """An empty batch for datagrams that leave with at most ``size`` bytes each.

    ``headroom`` is what all layers below will put in front, in bytes.  A datagram that has been
    given all of it starts at a multiple of SLOT_ALIGNMENT.
    """
    return Batch(-(-size // SLOT_ALIGNMENT) * SLOT_ALIGNMENT, headroom)


def inboundBatch(datagrams: Iterable[BytesLike], addresses: list[PeerAddress] | None = None) -> Batch:
    """A batch around arrived datagrams, copied into one buffer."""
    batch = Batch()
    position = 0
    pieces = []
    for datagram in datagrams:
        pieces.append(datagram)
        batch.starts.append(position)
        position += len(datagram)
        batch.ends.append(position)
    batch.buffer = bytearray(b"".join(pieces))
    batch.addresses = addresses
    return batch
