"""Snappy between smux and KCP: the framing format, and the transport that applies it.

Each direction of a session is a stream of chunks (google/snappy, framing_format.txt, and
docs/wire: "Compression")::

    type u8 | length u24 | body

    0xff          stream identifier, "sNaPpY": first, with the first data; may be repeated
    0x00          masked CRC-32C of the plain bytes, u32, then a raw snappy block
    0x01          the same CRC, then the plain bytes: where compression saves less than an eighth
    0x80 - 0xfe   skipped (0xfe is padding)
    0x02 - 0x7f   an error

A chunk holds at most 65536 plain bytes, ours CHUNK_SIZE.  Each write becomes whole chunks, so that the peer
never waits for more before it can restore what was written.
"""

from __future__ import annotations

from typing import cast

import cramjam
import google_crc32c
from twisted.internet.interfaces import IProducer, IProtocol, IPushProducer, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.addresses import shown
from kcpstack.counters import Counters
from kcpstack.errors import PeerBrokeProtocol
from kcpstack.interfaces import ICompressor, ISessionTransport
from kcpstack.layers.passing import PassingTransport

__all__ = ["SnappyCodec", "CompressedTransport"]

# Plain bytes in a chunk of ours: a smux frame of kcptun's size with its header.  Until the last byte of a
# chunk is there its peer has nothing; on a path of 1 KB/s a chunk of 64 KiB is a minute of silence.
CHUNK_SIZE = 8200
BLOCK_SIZE = 65536  # plain bytes in a chunk at most: the format's own limit
MAX_COMPRESSED = 32 + BLOCK_SIZE + BLOCK_SIZE // 6  # the longest raw block that encoders make of that
CHUNK_HEAD = 4  # type and length
CHECKSUM = 4

COMPRESSED, PLAIN, LAST_UNSKIPPABLE, IDENTIFIER = 0x00, 0x01, 0x7F, 0xFF
STREAM_IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"


@implementer(ICompressor)
class SnappyCodec:
    """Both directions of one session's snappy stream.

    Kept between calls: at most one unfinished chunk, under 77 KiB.  What one call of ``decompress``
    returns is at most about 22 times what it was given, since a snappy element of three bytes
    stands for at most 64.
    """

    def __init__(self) -> None:
        self._begun = False
        self._decoder = _ChunkDecoder()

    def compress(self, data: bytes) -> bytes:
        """One chunk for each CHUNK_SIZE bytes of ``data``; nothing for nothing."""
        if not data:
            return b""
        parts: list[bytes] = []
        if not self._begun:
            self._begun = True
            parts.append(STREAM_IDENTIFIER)
        if len(data) <= CHUNK_SIZE:
            _encodeChunk(data, parts)
        else:
            for start in range(0, len(data), CHUNK_SIZE):
                _encodeChunk(data[start : start + CHUNK_SIZE], parts)
        return b"".join(parts)

    def decompress(self, data: bytes) -> bytes:
        """Raises ValueError where the stream is damaged, and from then on."""
        return self._decoder.feed(data)


def _encodeChunk(block: bytes, parts: list[bytes]) -> None:
    body = bytes(cramjam.snappy.compress_raw(block))
    kind = COMPRESSED
    if len(body) >= len(block) - len(block) // 8:
        kind, body = PLAIN, block
    parts.append(
        (kind | (len(body) + CHECKSUM) << 8).to_bytes(CHUNK_HEAD, "little")
        + _maskedChecksum(block).to_bytes(CHECKSUM, "little")
    )
    parts.append(body)


def _maskedChecksum(block: bytes) -> int:
    crc: int = google_crc32c.value(block)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class _ChunkDecoder:
    """Plain bytes from a snappy stream cut anywhere.

    Arrived pieces are joined only once the chunk they belong to is complete, so that the work
    stays linear in the bytes however they are cut.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0  # bytes in _pieces
        self._needed = CHUNK_HEAD  # bytes that must be held before there is anything to do
        self._skipping = 0  # bytes still to come of a skippable chunk
        self._identified = False
        self._damage: str | None = None

    def feed(self, data: bytes) -> bytes:
        if self._damage is not None:
            raise ValueError(self._damage)
        self._pieces.append(data)
        self._held += len(data)
        if self._held < self._needed and not self._skipping:
            return b""
        stream = b"".join(self._pieces)
        restored: list[bytes] = []
        try:
            position = self._decode(stream, restored)
        except ValueError as error:
            self._damage = str(error)
            self._pieces.clear()
            raise
        rest = stream[position:]
        self._pieces = [rest] if rest else []
        self._held = len(rest)
        return b"".join(restored)

    def _decode(self, stream: bytes, restored: list[bytes]) -> int:
        """Decode the complete chunks of ``stream`` and return where the unfinished one begins."""
        position = 0
        while True:
            skipped = min(self._skipping, len(stream) - position)
            self._skipping -= skipped
            position += skipped
            available = len(stream) - position
            self._needed = CHUNK_HEAD
            if available < CHUNK_HEAD:
                return position
            kind, length = self._readHead(stream, position)
            if LAST_UNSKIPPABLE < kind < IDENTIFIER:
                self._skipping = length
                position += CHUNK_HEAD
                continue
            self._needed = CHUNK_HEAD + length
            if available < self._needed:
                return position
            body = stream[position + CHUNK_HEAD : position + self._needed]
            position += self._needed
            if kind == IDENTIFIER:
                self._readIdentifier(body)
            else:
                restored.append(_decodeBody(kind, body))

    def _readHead(self, stream: bytes, position: int) -> tuple[int, int]:
        """Type and length of a chunk, refused before any of its body is waited for."""
        kind = stream[position]
        length = int.from_bytes(stream[position + 1 : position + CHUNK_HEAD], "little")
        if kind == IDENTIFIER:
            if length != len(STREAM_IDENTIFIER) - CHUNK_HEAD:
                raise ValueError(f"a snappy stream identifier of {length} bytes")
        elif not self._identified:
            raise ValueError(f"a snappy stream that begins with chunk type {kind:#04x}")
        elif kind in (COMPRESSED, PLAIN):
            longest = CHECKSUM + (MAX_COMPRESSED if kind == COMPRESSED else BLOCK_SIZE)
            if not CHECKSUM <= length <= longest:
                raise ValueError(f"a snappy chunk of type {kind:#04x} with {length} bytes")
        elif kind <= LAST_UNSKIPPABLE:
            raise ValueError(f"snappy chunk type {kind:#04x}, which must not be skipped")
        return kind, length

    def _readIdentifier(self, body: bytes) -> None:
        if body != STREAM_IDENTIFIER[CHUNK_HEAD:]:
            raise ValueError("a snappy stream identifier with the wrong name")
        self._identified = True


def _decodeBody(kind: int, body: bytes) -> bytes:
    checksum = int.from_bytes(body[:CHECKSUM], "little")
    block = body[CHECKSUM:]
    if kind == COMPRESSED:
        promised = _promisedLength(block)
        if promised > BLOCK_SIZE:
            raise ValueError(f"a snappy block that promises {promised} bytes")
        try:
            block = bytes(cramjam.snappy.decompress_raw(block))
        except cramjam.DecompressionError as error:
            raise ValueError(f"a damaged snappy block ({error})") from None
    if _maskedChecksum(block) != checksum:
        raise ValueError("a snappy chunk with the wrong checksum")
    return block


def _promisedLength(block: bytes) -> int:
    """The length in front of a raw block: a varint, of which more than three bytes is too much."""
    promised = 0
    for index, byte in enumerate(block[:3]):
        promised |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return promised
    raise ValueError("a snappy block with a bad length")


@implementer(IProtocol, ISessionTransport)
class CompressedTransport(PassingTransport):
    """Compression between a session and the protocol above it.

    Below it is an IProtocol on the session's ISessionTransport; above, the protocol sees it as its
    ISessionTransport.  A damaged stream ends the session (``abortConnection``), counted in
    CompressionErrs and logged once; the protocol above is told that the peer broke the protocol.  A compressor that
    raises anything else ends it too; the protocol above is told what.

    With ``recognise`` (a server) the peer's first byte decides: the beginning of a snappy stream
    (0xff), or anything else, which is then passed on unchanged in both directions.  Until it has
    come, writes are kept and a registered producer is paused; closing before then drops them.
    """

    _log = Logger()

    def __init__(
        self, protocol: IProtocol, counters: Counters, recognise: bool = False, compressor: ICompressor | None = None
    ) -> None:
        """``compressor`` is one that nobody else uses: a SnappyCodec, unless another is given.  A stranger's is in a
        CheckedCompressor, and logs its faults itself."""
        self._protocol = protocol
        self._compressor: ICompressor | None = compressor if compressor is not None else SnappyCodec()
        self._counters = counters
        self._undecided = recognise
        self._kept: list[bytes] = []
        self._producer: tuple[IProducer, bool] | None = None
        self._aborted = False
        self._damage: Failure | None = None

    # IProtocol, for the session below

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = cast(ISessionTransport, transport)
        self.connectionMade()

    def connectionMade(self) -> None:
        self._protocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        if self._undecided and data:
            self._decide(data[0] == IDENTIFIER)
        if self._compressor is not None:
            if self._aborted:
                return
            try:
                data = self._compressor.decompress(data)
            except ValueError as error:
                self._damaged(error)
                return
            except Exception:  # noqa: BLE001 - a stranger's compressor, which has said what is wrong with it
                self._failed()
                return
        if data:
            self._protocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:
        self._protocol.connectionLost(self._damage or reason)

    def _decide(self, compressed: bool) -> None:
        self._undecided = False
        if not compressed:
            self._compressor = None
        kept, self._kept = self._kept, []
        if kept:
            self.write(b"".join(kept))
        if self._producer is not None:
            producer, streaming = self._producer
            self._producer = None
            if streaming:
                cast(IPushProducer, producer).resumeProducing()
            self.transport.registerProducer(producer, streaming)

    def _damaged(self, error: ValueError) -> None:
        self._aborted = True
        self._damage = Failure(PeerBrokeProtocol(str(error)))
        self._counters.CompressionErrs += 1
        self._log.warn("Session with {peer} ended: {error}", peer=shown(self.getPeer()), error=error)
        self.transport.abortConnection()

    def _failed(self) -> None:
        """The exception now being handled is why the session ends."""
        self._damage = Failure()
        self.abortConnection()

    # ISessionTransport, for the protocol above

    def write(self, data: bytes) -> None:
        if self._undecided:
            self._kept.append(data)
        elif self._compressor is None:
            self.transport.write(data)
        elif data and not self._aborted:
            try:
                compressed = self._compressor.compress(data)
            except Exception:  # noqa: BLE001 - as above; it must not stop who writes
                self._failed()
                return
            self.transport.write(compressed)

    def abortConnection(self) -> None:
        self._aborted = True
        super().abortConnection()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if not self._undecided:
            super().registerProducer(producer, streaming)
        elif self._producer is not None:
            raise RuntimeError("a producer is registered already")
        else:
            self._producer = (producer, streaming)
            if streaming:
                cast(IPushProducer, producer).pauseProducing()

    def unregisterProducer(self) -> None:
        if self._producer is not None:
            self._producer = None
        else:
            super().unregisterProducer()
