"""The first bytes of a session (CompressedTransport with ``recognise``, kcpstack/layers/snappy.py)."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.records import Fields
from fuzz.vectors import DIRECTIONS, INSIDE, stream
from kcpstack.counters import Counters
from kcpstack.layers.snappy import CompressedTransport, SnappyCodec

ANSWER = b"an answer that was written before anything had come"


class Above:
    """The protocol above, which talks first."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = 0

    def makeConnection(self, transport: CompressedTransport) -> None:
        transport.write(ANSWER)

    def dataReceived(self, data: bytes) -> None:
        assert data, "nothing was delivered"
        assert not self.lost
        self.received += data

    def connectionLost(self, reason: object) -> None:
        self.lost += 1


class Below:
    """The session below."""

    def __init__(self, protocol: CompressedTransport) -> None:
        self.written = b""
        self.aborted = 0
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        self.written += data

    def abortConnection(self) -> None:
        self.aborted += 1
        self._protocol.connectionLost(None)

    def getPeer(self) -> str:
        return "a peer"


def check(data: bytes) -> None:
    """The first byte decides for both directions; damage ends the session; no cut makes a difference."""
    pieces = Fields(data).pieces()
    above, counters = Above(), Counters()
    layer = CompressedTransport(above, counters, recognise=True)
    below = Below(layer)
    layer.makeConnection(below)
    assert below.written == b"", "something was written before it was known how"
    for piece in pieces:
        layer.dataReceived(piece)
    layer.dataReceived(b"")
    assert below.aborted == above.lost == counters.CompressionErrs <= 1
    if not data:
        assert (above.received, below.written) == (b"", b"")
    elif data[0] != 0xFF:
        assert (above.received, below.written, below.aborted) == (data, ANSWER, 0)
    else:
        codec = SnappyCodec()
        expected = b""
        damaged = False
        try:
            for piece in pieces:
                expected += codec.decompress(piece)
        except ValueError:
            damaged = True
        assert above.received == expected
        assert damaged == bool(below.aborted)
        assert SnappyCodec().decompress(below.written) == ANSWER


def seeds() -> Iterator[bytes]:
    for name in INSIDE:
        for direction in DIRECTIONS:
            yield stream(name, direction)[:400]
    yield SnappyCodec().compress(b"hello") + b"\x40\0\0\0"
    yield b""
