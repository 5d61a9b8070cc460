"""A snappy stream (kcpstack/layers/snappy.py), beside the framing of cramjam, which is another's."""

from __future__ import annotations

from collections.abc import Iterator

import cramjam

from fuzz.records import Fields, record, records
from fuzz.vectors import DIRECTIONS, INSIDE, stream
from kcpstack.layers.snappy import (
    BLOCK_SIZE,
    CHECKSUM,
    CHUNK_HEAD,
    COMPRESSED,
    MAX_COMPRESSED,
    PLAIN,
    STREAM_IDENTIFIER,
    SnappyCodec,
    _maskedChecksum,
)

PLAIN_BYTES, RAW_BLOCK, RIGHT_BLOCK, ANY_CHUNK, ANY_BYTES, IDENTIFIED = range(6)
GROWTH = 22  # bytes restored of one that came, as SnappyCodec says
PROMISED_MAX = 1 << 20  # bytes that a raw block is tried with: more than a chunk may stand for
HELD_MAX = CHUNK_HEAD + CHECKSUM + MAX_COMPRESSED


def check(data: bytes) -> None:
    """What is taken is what cramjam takes; cuts change nothing; little is kept; what we make comes back."""
    built = framed(data)
    whole, damage = restored([built])
    cut, cutDamage = restored(Fields(built).pieces())
    assert damage == cutDamage
    assert cut[: len(whole)] == whole if damage is None else len(cut) >= len(whole)
    if damage is None:
        assert cut == whole
    if damage is None and isComplete(built) and whole:
        assert bytes(cramjam.snappy.decompress(built)) == whole
    codec = SnappyCodec()
    assert SnappyCodec().decompress(codec.compress(data) + codec.compress(data[::2])) == data + data[::2]


def framed(data: bytes) -> bytes:
    """The stream that the records of an input ask for: chunks, most with the right checksum."""
    parts = [STREAM_IDENTIFIER]
    for op, argument in records(data):
        op %= 6
        if op == PLAIN_BYTES:
            parts.append(chunk(PLAIN, checksum(argument) + argument))
        elif op == RAW_BLOCK:  # any bytes as a compressed block, with the checksum of what they stand for
            try:
                isShort = promised(argument) <= PROMISED_MAX
                plain = bytes(cramjam.snappy.decompress_raw(argument)) if isShort else b""
            except cramjam.DecompressionError:
                plain = b""
            parts.append(chunk(COMPRESSED, checksum(plain) + argument))
        elif op == RIGHT_BLOCK:
            parts.append(chunk(COMPRESSED, checksum(argument) + bytes(cramjam.snappy.compress_raw(argument))))
        elif op == ANY_CHUNK:
            parts.append(chunk(argument[0] if argument else 0x80, argument[1:]))
        elif op == ANY_BYTES:
            parts.append(argument)
        else:
            parts.append(STREAM_IDENTIFIER)
    return b"".join(parts)


def checksum(plain: bytes) -> bytes:
    return _maskedChecksum(plain).to_bytes(CHECKSUM, "little")


def chunk(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(CHUNK_HEAD - 1, "little") + body


def promised(block: bytes) -> int:
    """The length that a raw block begins with; too much where it is none."""
    length = 0
    for index, byte in enumerate(block[:5]):
        length |= (byte & 127) << 7 * index
        if byte < 128:
            return length
    return PROMISED_MAX + 1


def restored(pieces: list[bytes]) -> tuple[bytes, str | None]:
    """What came out, and the damage that was found, if any."""
    codec = SnappyCodec()
    out = []
    for number, piece in enumerate(pieces):
        held = codec._decoder._held
        try:
            out.append(codec.decompress(piece))
        except ValueError as error:
            for after in pieces[number:]:
                try:
                    codec.decompress(after)
                except ValueError:
                    continue
                raise AssertionError("a damaged stream went on") from None
            assert not codec._decoder._pieces, "a damaged stream keeps bytes"
            return b"".join(out), str(error)
        assert codec._decoder._held <= HELD_MAX, "more than one unfinished chunk is kept"
        assert len(out[-1]) <= GROWTH * (held + len(piece)), "too much was restored of this"
        assert len(out[-1]) <= BLOCK_SIZE + GROWTH * len(piece), "a chunk stood for more than it may"
    return b"".join(out), None


def isComplete(built: bytes) -> bool:
    """Whether the last chunk is whole."""
    position = 0
    while position + CHUNK_HEAD <= len(built):
        position += CHUNK_HEAD + int.from_bytes(built[position + 1 : position + CHUNK_HEAD], "little")
    return position == len(built)


def seeds() -> Iterator[bytes]:
    for name in INSIDE:
        for direction in DIRECTIONS:
            begin = stream(name, direction)[:1500]
            if not name.endswith("nocomp"):
                yield record(ANY_BYTES, begin[len(STREAM_IDENTIFIER) :])
            else:
                yield record(PLAIN_BYTES, begin[:100]) + record(RIGHT_BLOCK, begin)
    for size in (5000, BLOCK_SIZE, BLOCK_SIZE + 1, 100_000):
        yield record(RAW_BLOCK, bytes(cramjam.snappy.compress_raw(b"a" * size)))
    yield record(RAW_BLOCK, b"\x80\x80\x04" + b"\x00a" + b"\xfe\x01\x00" * 500)
    yield record(ANY_CHUNK, b"\xfe" + bytes(50)) + record(IDENTIFIED) + record(ANY_CHUNK, b"\x40ab")
