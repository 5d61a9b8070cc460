"""smux frames: the wire's layout, every cut, every kind of nonsense, and Go's own frames."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vectorstreams import isPayload, kcpStream, streamsOf

from kcpstack.layers.smux_frames import (
    FIN,
    HEADER_SIZE,
    MAX_PAYLOAD,
    NOP,
    PSH,
    SYN,
    UPD,
    FrameDecoder,
    decodeUpdate,
    encodeHeader,
    encodeUpdate,
)
from kcpstack.layers.snappy import SnappyCodec
from kcpstack.testing.strategies import cutAt, frames

KINDS = {SYN: 0, FIN: 0, NOP: 0, UPD: 8}


def encode(version: int, frame: tuple[int, int, bytes]) -> bytes:
    command, streamID, payload = frame
    return encodeHeader(version, command, streamID, len(payload)) + payload


def decode(decoder: FrameDecoder, pieces: list[bytes]) -> list[tuple[int, int, bytes]]:
    return [(c, i, bytes(p)) for piece in pieces for c, i, p in decoder.feed(piece)]


def test_a_header_has_the_layout_of_the_wire() -> None:
    assert encodeHeader(1, SYN, 3) == bytes.fromhex("0100000003000000")
    assert encodeHeader(2, PSH, 0x01020305, 0xC409) == bytes.fromhex("020209c405030201")


def test_an_update_has_the_layout_of_the_wire() -> None:
    frame = encodeUpdate(3, 2500, 0x200000)
    assert frame == bytes.fromhex("0204080003000000c409000000002000")
    assert decodeUpdate(memoryview(frame)[HEADER_SIZE:]) == (2500, 0x200000)


def test_frames_come_out_the_same_at_every_cut() -> None:
    sent = [(SYN, 3, b""), (PSH, 3, b"some bytes"), (UPD, 5, bytes(8)), (PSH, 3, b""), (NOP, 0, b""), (FIN, 3, b"")]
    stream = b"".join(encode(2, frame) for frame in sent)
    for first in range(len(stream) + 1):
        for second in (first, first + 1, first + HEADER_SIZE, len(stream)):
            decoder = FrameDecoder(2)
            assert decode(decoder, cutAt(stream, [first, min(second, len(stream))])) == sent
            assert decoder.error is None


def test_the_longest_payload_comes_out_byte_by_byte() -> None:
    payload = bytes(range(255)) * 257
    assert len(payload) == MAX_PAYLOAD
    stream = encode(1, (PSH, 7, payload))
    assert decode(FrameDecoder(1), [bytes([byte]) for byte in stream]) == [(PSH, 7, payload)]


@given(st.lists(frames(), max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_encoded_is_decoded(sent: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(encode(2, frame) for frame in sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=5))
    assert decode(FrameDecoder(2), cutAt(stream, cuts)) == sent


@pytest.mark.parametrize("version", [1, 2])
def test_the_first_frame_shows_the_version(version: int) -> None:
    decoder = FrameDecoder(None)
    assert decoder.version is None
    assert decode(decoder, [encode(version, (SYN, 3, b""))]) == [(SYN, 3, b"")]
    assert decoder.version == version


BROKEN = {
    "version 0": (None, bytes.fromhex("0000000003000000")),
    "version 3": (None, bytes.fromhex("0300000003000000")),
    "version 2 where 1 is spoken": (1, bytes.fromhex("0203000000000000")),
    "version 1 where 2 is spoken": (2, bytes.fromhex("0103000000000000")),
    "data of another version": (1, bytes.fromhex("0202000003000000")),
    "an unknown command": (2, bytes.fromhex("0205000003000000")),
    "UPD in version 1": (1, bytes.fromhex("0104080003000000")),
    "SYN with a length": (1, bytes.fromhex("0100010003000000")),
    "FIN with a length": (1, bytes.fromhex("0101010003000000")),
    "NOP with a length": (1, bytes.fromhex("0103010000000000")),
    "UPD that is too short": (2, bytes.fromhex("0204070003000000")),
    "UPD that is too long": (2, bytes.fromhex("0204090003000000")),
}


@pytest.mark.parametrize(("version", "header"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_frame_is_told_from_its_header_and_ends_the_decoding(version: int | None, header: bytes) -> None:
    decoder = FrameDecoder(version)
    good = encode(version, (PSH, 3, b"before")) if version else b""
    assert decode(decoder, [good + header]) == ([(PSH, 3, b"before")] if version else [])
    assert decoder.error is not None
    assert decoder.feed(encode(version or 1, (SYN, 3, b""))) == []


@given(st.binary(max_size=200), st.data())
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_give_the_same_frames_and_error_wherever_they_are_cut(
    rubbish: bytes, data: st.DataObject
) -> None:
    # A plausible beginning, now and then, so that not all end at the first byte.
    stream = data.draw(st.sampled_from((b"", bytes.fromhex("0200000003000000"), b"\x02\x02\x04\x00"))) + rubbish
    whole, pieces = FrameDecoder(None), FrameDecoder(None)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=6))
    assert decode(whole, [stream]) == decode(pieces, cutAt(stream, cuts))
    assert whole.error == pieces.error
    assert whole.version == pieces.version


@given(st.lists(frames(), min_size=1, max_size=6), st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutilated_stream_gives_whole_frames_or_an_error(
    sent: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(encode(2, frame) for frame in sent))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    decoder = FrameDecoder(2)
    received = decode(decoder, [bytes(stream)])
    assert all(command == PSH or len(payload) == KINDS[command] for command, _, payload in received)
    again = b"".join(encode(2, frame) for frame in received)
    assert bytes(stream).startswith(again)


@pytest.mark.parametrize(("name", "direction"), streamsOf())
def test_what_go_peers_sent_decodes_and_encodes_to_the_same_bytes(name: str, direction: str) -> None:
    stream = kcpStream(name, direction)
    if "_comp" in name:
        stream = SnappyCodec().decompress(stream)
    decoder = FrameDecoder(None)
    received = decode(decoder, [stream])
    assert decoder.version == int(name.split("smux")[1][0])
    assert b"".join(encode(decoder.version, frame) for frame in received) == stream
    if direction == "up":
        assert received[0] == (SYN, 3, b"")
    payload = b"".join(payload for command, streamID, payload in received if command == PSH and streamID == 3)
    assert len(payload) == 6000
    assert isPayload(name, direction, payload) != ("qpp" in name)
