"""The snappy layer: every byte back however it is cut, refusals before any damage is done, and Go's streams."""

from __future__ import annotations

import random
import tracemalloc

import cramjam
import google_crc32c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from vectorstreams import isPayload, kcpStream, streamsOf
from zope.interface.verify import verifyObject

from kcpstack.counters import Counters
from kcpstack.errors import PeerBrokeProtocol
from kcpstack.interfaces import ICompressor, ISessionTransport
from kcpstack.layers.smux_frames import PSH, FrameDecoder
from kcpstack.layers.snappy import CHUNK_SIZE, CompressedTransport, SnappyCodec

IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"
NOISE = random.Random(2).randbytes(200_000)
TEXT = b"the quick brown fox jumps over the lazy dog. " * 4000


def chunk(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "little") + body


def checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def cutUp(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    while data:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[:size])
        data = data[size:]
    return pieces


cuts = st.lists(st.sampled_from((1, 2, 3, 4, 5, 10, 100, 1000, 70_000)), min_size=1)
# Slices of noise and text: both kinds of chunk, some of them longer than a chunk may be.
writes = st.lists(
    st.builds(
        lambda source, start, length: source[start : start + length],
        st.sampled_from((NOISE, TEXT)),
        st.integers(0, 1000),
        st.integers(0, 140_000),
    ),
    max_size=5,
)


@given(writes, cuts)
@settings(max_examples=60, deadline=None)
def test_what_was_written_comes_back_however_it_was_cut(written: list[bytes], sizes: list[int]) -> None:
    codec, peer = SnappyCodec(), SnappyCodec()
    stream = b"".join(codec.compress(data) for data in written)
    assert b"".join(peer.decompress(piece) for piece in cutUp(stream, sizes)) == b"".join(written)


def test_each_write_can_be_restored_without_waiting_for_more() -> None:
    codec, peer = SnappyCodec(), SnappyCodec()
    for data in (b"x", TEXT[:8200], NOISE[:8200], NOISE):
        assert peer.decompress(codec.compress(data)) == data


def test_the_codec_provides_its_interface() -> None:
    assert verifyObject(ICompressor, SnappyCodec())


def test_the_stream_identifier_comes_once_with_the_first_data() -> None:
    codec = SnappyCodec()
    assert codec.compress(b"") == b""
    assert codec.compress(b"first").startswith(IDENTIFIER)
    assert IDENTIFIER not in codec.compress(b"second")


def test_a_write_is_one_chunk_for_each_frame_that_is_in_it() -> None:
    codec = SnappyCodec()
    codec.compress(b"first")
    whole, more = NOISE[:CHUNK_SIZE], NOISE[CHUNK_SIZE : CHUNK_SIZE + 4]
    assert codec.compress(whole) == chunk(1, checksum(whole) + whole)
    expected = [chunk(1, checksum(part) + part) for part in (whole, more)]
    assert codec.compress(whole + more) == b"".join(expected)


@pytest.mark.parametrize("random_bytes", range(0, 4000, 97))
def test_a_chunk_stays_plain_where_compression_saves_less_than_an_eighth(random_bytes: int) -> None:
    data = NOISE[:random_bytes] + bytes(4000 - random_bytes)
    codec = SnappyCodec()
    codec.compress(b"first")
    packed = bytes(cramjam.snappy.compress_raw(data))
    plain = len(packed) >= 4000 - 500
    assert codec.compress(data) == chunk(plain, checksum(data) + (data if plain else packed))


def test_padding_and_skippable_chunks_and_repeated_identifiers_are_passed_over() -> None:
    plain = chunk(1, checksum(b"data") + b"data")
    skipped = b"".join(chunk(kind, bytes(kind)) for kind in range(0x80, 0xFF))
    stream = IDENTIFIER + skipped + plain + IDENTIFIER + chunk(0xFE, b"") + plain
    for size in (1, 3, len(stream)):
        codec = SnappyCodec()
        assert b"".join(codec.decompress(piece) for piece in cutUp(stream, [size])) == b"datadata"


def test_a_skipped_chunk_is_not_kept() -> None:
    codec = SnappyCodec()
    codec.decompress(IDENTIFIER + b"\x80\xff\xff\xff")
    rubbish = bytes(65536)
    tracemalloc.start()
    try:
        for _ in range(255):
            assert codec.decompress(rubbish) == b""
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(rubbish)


DAMAGED = {
    "data before the identifier": chunk(1, checksum(b"data") + b"data"),
    "a skippable chunk before the identifier": chunk(0x80, b"data"),
    "an identifier of the wrong length": b"\xff\x07\x00\x00",
    "an identifier with the wrong name": b"\xff\x06\x00\x00sNaPpy",
    "a chunk type that must not be skipped": IDENTIFIER + b"\x02\x01\x00\x00",
    "the last chunk type that must not be skipped": IDENTIFIER + b"\x7f\x01\x00\x00",
    "a chunk too short for its checksum": IDENTIFIER + b"\x01\x03\x00\x00",
    "a plain chunk longer than may be": IDENTIFIER + b"\x01\x05\x00\x01",
    "a compressed chunk longer than may be": IDENTIFIER + b"\x00\xff\xff\xff",
    "a wrong checksum": IDENTIFIER + chunk(1, checksum(b"data") + b"date"),
    "a block that promises 4 GB": IDENTIFIER + chunk(0, bytes(4) + b"\xff\xff\xff\xff\x0f\x00"),
    "a block that promises one byte too many": IDENTIFIER + chunk(0, bytes(4) + b"\x81\x80\x04\x00"),
    "a good block that is longer than may be": IDENTIFIER
    + chunk(0, checksum(bytes(65537)) + bytes(cramjam.snappy.compress_raw(bytes(65537)))),
    "a block with an endless length": IDENTIFIER + chunk(0, bytes(4) + b"\x80\x80"),
    "an empty block": IDENTIFIER + chunk(0, bytes(4)),
    "a block that refers to before its beginning": IDENTIFIER + chunk(0, bytes(4) + b"\x40\xfe\x01\x00"),
}


@pytest.mark.parametrize("stream", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_stream_is_refused_as_soon_as_it_shows(stream: bytes) -> None:
    codec = SnappyCodec()
    with pytest.raises(ValueError):
        codec.decompress(stream)
    with pytest.raises(ValueError):
        codec.decompress(IDENTIFIER)


def outcome(stream: bytes, sizes: list[int]) -> bool:
    """Whether ``stream`` decodes.  Anything but ValueError fails the test that asks."""
    codec = SnappyCodec()
    try:
        for piece in cutUp(stream, sizes):
            assert len(codec.decompress(piece)) <= 22 * (len(piece) + 80_000)
    except ValueError:
        return False
    return True


@given(st.binary(max_size=300), cuts)
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_are_decoded_or_refused(rubbish: bytes, sizes: list[int]) -> None:
    assert outcome(IDENTIFIER + rubbish, sizes) == outcome(IDENTIFIER + rubbish, [1])


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutilated_stream_is_decoded_or_refused_wherever_it_is_cut(data: st.DataObject) -> None:
    codec = SnappyCodec()
    stream = bytearray(b"".join(codec.compress(part) for part in (b"head", TEXT[:500], NOISE[:300], TEXT[:70_000])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at] ^= data.draw(st.integers(1, 255))
    assert outcome(bytes(stream), [1000]) == outcome(bytes(stream), [70_000])


@pytest.mark.parametrize(("name", "direction"), streamsOf(nocomp=False))
def test_what_go_peers_compressed_comes_back(name: str, direction: str) -> None:
    stream = kcpStream(name, direction)
    codec, frames = SnappyCodec(), FrameDecoder()
    payload = b""
    for piece in cutUp(stream, [1, 30, 1340]):
        payload += b"".join(view for command, _, view in frames.feed(codec.decompress(piece)) if command == PSH)
    assert isPayload(name, direction, payload)


# ------------------------------------------------------------------ the transport


class Above(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.lost = None
        self.paused = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason=None) -> None:
        self.lost = reason

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


class Below(StringTransport):
    """A session that only records."""

    def __init__(self) -> None:
        super().__init__()
        self.aborts = 0

    def abortConnection(self) -> None:
        self.aborts += 1


def build(recognise: bool = False) -> tuple[Above, CompressedTransport, Below, Counters]:
    above, below, counters = Above(), Below(), Counters()
    layer = CompressedTransport(above, counters, recognise=recognise)
    layer.makeConnection(below)
    return above, layer, below, counters


def test_the_layer_is_a_protocol_below_and_a_session_above() -> None:
    _, layer, _, _ = build()
    assert verifyObject(IProtocol, layer)
    assert verifyObject(ISessionTransport, layer)


def test_the_layer_compresses_what_leaves_and_restores_what_arrives() -> None:
    above, layer, below, _ = build()
    layer.writeSequence([b"some ", b"bytes"])
    assert SnappyCodec().decompress(below.value()) == b"some bytes"
    layer.dataReceived(SnappyCodec().compress(b"others"))
    assert above.received == b"others"


def test_a_damaged_stream_ends_the_session_once_and_is_counted() -> None:
    above, layer, below, counters = build()
    layer.dataReceived(b"\x02nonsense")
    layer.dataReceived(b"more nonsense")
    assert (counters.CompressionErrs, below.aborts, above.received) == (1, 1, b"")
    layer.connectionLost("why")
    assert above.lost.check(PeerBrokeProtocol)


def test_a_peer_that_compresses_is_recognised_and_answered_in_kind() -> None:
    above, layer, below, _ = build(recognise=True)
    for byte in SnappyCodec().compress(b"question"):
        layer.dataReceived(bytes([byte]))
    assert above.received == b"question"
    layer.write(b"answer")
    assert SnappyCodec().decompress(below.value()) == b"answer"


def test_a_peer_that_does_not_compress_is_recognised_and_answered_in_kind() -> None:
    above, layer, below, _ = build(recognise=True)
    layer.dataReceived(b"\x02question")
    layer.dataReceived(b"\xff\x06")
    assert above.received == b"\x02question\xff\x06"
    layer.write(b"answer")
    assert below.value() == b"answer"


@pytest.mark.parametrize("compressed", [True, False])
def test_what_is_written_before_the_peer_is_known_waits_for_that(compressed: bool) -> None:
    above, layer, below, _ = build(recognise=True)
    layer.registerProducer(above, True)
    layer.write(b"early, ")
    layer.write(b"both")
    assert above.paused
    assert below.value() == b""
    layer.dataReceived(SnappyCodec().compress(b"?") if compressed else b"\x01")
    assert not above.paused
    assert below.producer is above
    assert (SnappyCodec().decompress(below.value()) if compressed else below.value()) == b"early, both"


def test_flow_control_passes_through() -> None:
    above, layer, below, _ = build()
    layer.registerProducer(above, True)
    assert below.producer is above
    layer.pauseProducing()
    assert below.producerState == "paused"
    layer.resumeProducing()
    assert below.producerState == "producing"
    layer.unregisterProducer()
    assert below.producer is None
    layer.loseConnection()
    assert below.disconnecting
