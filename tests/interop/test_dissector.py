"""The dissectors in kcptun.lua, run by tshark, say what our own parsers say of the same bytes."""

from __future__ import annotations

import random
import struct
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from pcapngfile import Packet, packets
from tshark import numbers, rows, tshark
from twisted.internet.task import Clock
from vectorfiles import load

from kcpstack.kernels.segment import HEADER, OVERHEAD, PUSH, isWhole
from kcpstack.layers.fec import payloadStart
from kcpstack.layers.smux_frames import UPD, FrameDecoder, decodeUpdate, encodeHeader, encodeUpdate
from kcpstack.testing.pcapng import enhancedPacket, interfaceDescription, sectionHeader
from kcpstack.testing.tracing import DISSECTORS, openTrace

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.append(str(CHECKOUT / "examples"))

from trace_simulation import record

FEC = ("kcptun.fec.seqid", "kcptun.fec.type", "kcptun.fec.size")
SEGMENT = [f"kcptun.kcp.{name}" for name in ("conv", "cmd", "frg", "wnd", "ts", "sn", "una", "len")]
FRAME = [f"kcptun.smux.{name}" for name in ("version", "cmd", "stream", "length")]
UPDATE = ("kcptun.smux.consumed", "kcptun.smux.window")

# Loss, both versions of smux, FEC and none, compression and none, and a cipher that leaves all in the clear.
TUNNELS: dict[str, dict[str, Any]] = {
    "fec": {"loss": 0.08},
    "no fec": {"loss": 0.08, "datashard": 0, "smuxver": 1},
    "plain": {"loss": 0.03, "nocomp": True, "smuxver": 2, "datashard": 3, "parityshard": 2},
    "null": {"crypt": "null", "smuxver": 1, "nocomp": True},
}


@pytest.fixture(scope="module", params=TUNNELS)
def trace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "tunnel.pcapng"
    with open(path, "wb") as file:
        record(file, seed=5, **TUNNELS[request.param])
    return path


def at(path: Path, place: str) -> list[Packet]:
    return [packet for packet in packets(path) if packet.place.endswith(place)]


def shown(path: Path, place: str, *fields: str) -> list[list[list[int]]]:
    found = rows(path, *fields, show=f'frame.interface_name matches " {place}$"')
    return [numbers(row) for row in found]


def dissected(datagram: bytes) -> list[list[int]]:
    """What FEC and SEGMENT should show of a datagram that is sound."""
    start = payloadStart(datagram, 0, len(datagram))
    shard = [[], [], []] if start == 0 else [[value] for value in struct.unpack_from("<IHH", datagram)]
    if start is None:
        return [*shard[:2], [], *([] for _ in SEGMENT)]
    segments = []
    while start < len(datagram):
        segments.append(HEADER.unpack_from(datagram, start))
        start += OVERHEAD + segments[-1][-1]
    return [*shard, *([segment[index] for segment in segments] for index in range(len(SEGMENT)))]


# ------------------------------------------------------------------ sound traces


def test_every_opened_datagram_shows_the_headers_that_our_parsers_find(trace: Path) -> None:
    opened = at(trace, "opened")
    assert len(opened) > 100
    assert shown(trace, "opened", *FEC, *SEGMENT) == [dissected(packet.data) for packet in opened]


def test_every_smux_frame_shows_whatever_records_it_is_cut_into(trace: Path) -> None:
    assert smuxShown(trace) == smuxExpected(at(trace, "smux"))


def test_a_sound_trace_has_nothing_that_is_malformed_or_cut(trace: Path) -> None:
    assert rows(trace, "frame.number", show="_ws.malformed or kcptun.cut") == []


def test_a_push_that_was_sent_before_is_marked_with_its_first_frame(trace: Path) -> None:
    first: dict[Any, int] = {}
    expected = {}
    for number, packet in enumerate(packets(trace), 1):
        if packet.place.endswith("opened"):
            *_, convs, cmds, _frg, _wnd, _ts, sns, _una, _len = dissected(packet.data)
            for conv, cmd, sn in zip(convs, cmds, sns):
                source = packet.tags.get(20)  # where it is not known, it is not the same direction to Wireshark
                key = (packet.place, packet.outbound, conv, sn, source)
                if cmd == PUSH and first.setdefault(key, number) != number:
                    expected.setdefault(number, []).append(first[key])
    marked = rows(trace, "frame.number", "kcptun.kcp.again", show="kcptun.kcp.again")
    assert {int(number): list(map(int, again)) for (number,), again in marked} == expected
    again = tshark(trace, "-2", "-R", "kcptun.kcp.again")  # two passes, as Wireshark itself goes over a file
    assert len(again.splitlines()) == len(expected)


def test_chunks_of_the_compressed_stream_show_and_lead_to_its_end(tmp_path: Path) -> None:
    path = recorded(tmp_path, loss=0.05)
    expected = defaultdict(bytes)
    for packet in at(path, "compressed"):
        expected[packet.place, packet.data[:4], packet.outbound] += packet.data[12:]
    fields = ("frame.interface_name", "kcptun.trace.number", "frame.p2p_dir", "kcptun.snappy.type", "kcptun.snappy.length")
    found = defaultdict(list)
    for (place,), (number,), (way,), types, lengths in rows(path, *fields, show="kcptun.snappy"):
        key = (place, struct.pack("<I", int(number)), way == "0")
        found[key] += zip((int(kind, 0) for kind in types), map(int, lengths))
    assert found == {key: chunksOf(stream) for key, stream in expected.items()}


def test_application_bytes_erasure_and_congestion_show(tmp_path: Path) -> None:
    path = recorded(tmp_path, loss=0.08)
    streams = rows(path, "kcptun.trace.stream", "kcptun.stream.data", show="kcptun.stream")
    assert [bytes.fromhex(data) for _, (data,) in streams] == [packet.data[12:] for packet in at(path, "stream")]
    assert all(number == ["3"] for number, _ in streams)
    codes = shown(path, "erasure", *(f"kcptun.erasure.{name}" for name in ("operation", "d", "p", "given", "made")))
    assert codes == [erasureOf(packet.data) for packet in at(path, "erasure")]
    assert {operation for ((operation,), *_) in codes} == {0, 1}
    fields = [f"kcptun.congestion.{name}" for name in ("event", "segments", "inflight", "window")]
    windows = [[[value] for value in struct.unpack("<IIII", packet.data[12:])] for packet in at(path, "congestion")]
    assert shown(path, "congestion", *fields) == windows
    assert len(windows) > 20


def test_the_info_column_reads_like_a_conversation(tmp_path: Path) -> None:
    path = tmp_path / "info.pcapng"
    conv = 0xF0000007
    push = HEADER.pack(conv, 81, 0, 128, 1, 5, 3, 5) + b"hello"
    ack = HEADER.pack(conv, 82, 0, 128, 9, 2, 3, 0)
    trace = openTrace(str(path), Clock())
    opened = trace.place("opened", "kcptun")
    opened.saw(push + ack, True)
    opened.saw(struct.pack("<IHH", 17, 0xF1, 2 + len(push)) + push, True)
    opened.saw(struct.pack("<IH", 18, 0xF2) + bytes(30), False)
    frames = encodeHeader(2, 0, 3) + encodeHeader(2, 2, 3, 1) + b"x" + encodeUpdate(3, 10, 65536)
    frames += encodeHeader(2, 3, 0x6B637074) + encodeHeader(2, 3, 3) + encodeHeader(2, 1, 3)
    trace.place("smux", "kcptun.smux").saw(bytes(12) + frames, True)
    trace.close()
    assert [info for ((info,),) in rows(path, "_ws.col.Info")] == [
        "> PSH sn=5 una=3 len=5 | ACK sn=2",
        "> FEC data 17 | PSH sn=5 una=3 len=5 (again)",
        "< FEC parity 18",
        "> SYN 3 | PSH 3 len=1 | UPD 3 consumed=10 window=65536 | NOP announce | NOP closed 3 | FIN 3",
    ]


# ------------------------------------------------------------------ captures of a network


@pytest.mark.parametrize("name", ["none_fec10-3_smux1_nocomp", "null_fec3-2_smux2_comp", "debian_none_fec10-3_smux1_nocomp"])
def test_a_capture_of_gos_kcptun_in_the_clear_can_be_decoded_as_ours(tmp_path: Path, name: str) -> None:
    session = load(name)
    header = 0 if session["crypt"] == "null" else 20
    datagrams = [bytes.fromhex(datagram["hex"]) for datagram in session["datagrams"]]
    path = captured(tmp_path, datagrams, [datagram["dir"] == "up" for datagram in session["datagrams"]])
    found = rows(path, *FEC, *SEGMENT, arguments=("-d", "udp.port==29900,kcptun"))
    assert [numbers(row) for row in found] == [dissected(datagram[header:]) for datagram in datagrams]
    checksums = rows(path, "kcptun.checksum", arguments=("-d", "udp.port==29900,kcptun"))
    assert all(bool(found) == bool(header) for (found,) in checksums)


# ------------------------------------------------------------------ unsound bytes


def test_frames_cut_anywhere_show_once_each(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcapng"
    chance = random.Random(1)
    frames = b"".join(
        chance.choice((encodeHeader(2, 2, 5, size) + bytes(size), encodeUpdate(7, 1, size), encodeHeader(2, 0, 9)))
        for size in range(300)
    )
    trace = openTrace(str(path), Clock())
    place = trace.place("an smux", "kcptun.smux")
    while frames:
        size = chance.choice((1, 2, 7, 8, 9, 15, 16, 17, 100, 2000))
        place.saw(struct.pack("<III", 1, 2, 0) + frames[:size], True)
        frames = frames[size:]
    trace.close()
    found = smuxShown(path)
    assert found == smuxExpected(packets(path))
    assert len(found["an smux", 1, True]) > 200


def test_bytes_of_strangers_are_shown_without_an_error(tmp_path: Path) -> None:
    path = tmp_path / "strange.pcapng"
    count = writeStrange(path, seed=1)
    assert len(rows(path, "frame.number")) == count
    assert rows(path, "frame.number", show="_ws.malformed and not kcptun.malformed") == []
    assert len(tshark(path, "-2").splitlines()) == count
    tshark(path, "-V")


def test_a_datagram_is_malformed_where_it_is_not_segments_from_end_to_end(tmp_path: Path) -> None:
    path = tmp_path / "mutilated.pcapng"
    chance = random.Random(2)
    trace = openTrace(str(path), Clock())
    place = trace.place("opened", "kcptun")
    datagrams = [mutilated(chance) for _ in range(400)]
    for datagram in datagrams:
        place.saw(datagram, False)
    trace.close()
    marked = {int(number) for ((number,),) in rows(path, "frame.number", show="kcptun.malformed")}
    assert marked == {number for number, datagram in enumerate(datagrams, 1) if not sound(datagram)}
    assert 100 < len(marked) < 400


def test_what_a_limit_has_cut_is_said_and_not_taken_for_damage(tmp_path: Path) -> None:
    for limit in (60, 90, 100, 130, 200):
        path = recorded(tmp_path, f"cut{limit}", loss=0.05, packetLimit=limit)
        assert rows(path, "frame.number", show="_ws.malformed") == []
        assert rows(path, "frame.number", show="kcptun.cut")


def test_an_error_in_a_dissector_would_not_pass_these_tests(tmp_path: Path) -> None:
    path = tmp_path / "one.pcapng"
    trace = openTrace(str(path), Clock())
    trace.place("wire", "kcptun.sealed").saw(b"x")
    trace.close()
    broken = tmp_path / "broken.lua"
    begins = "function sealed.dissector(tvb, pinfo, tree)"
    broken.write_text(DISSECTORS.read_text().replace(begins, f"{begins}\n\tlocal broken = nil + 1"))
    with pytest.raises(AssertionError, match="Lua Error"):
        tshark(path, "-T", "fields", "-e", "_ws.expert.message", dissectors=broken)


# ------------------------------------------------------------------ by what it is compared


def recorded(tmp_path: Path, name: str = "trace", **settings: Any) -> Path:
    path = tmp_path / f"{name}.pcapng"
    with open(path, "wb") as file:
        record(file, **settings)
    return path


Frames = dict[tuple[str, int, bool], list[tuple[int, ...]]]


def smuxExpected(seen: list[Packet]) -> Frames:
    """(version, command, stream, length), and what updates say, for each stream of session bytes."""
    decoders: dict[Any, FrameDecoder] = defaultdict(FrameDecoder)
    found: Frames = defaultdict(list)
    for packet in seen:
        (number,) = struct.unpack_from("<I", packet.data)
        key = (packet.place, number, bool(packet.outbound))
        decoder = decoders[key]
        for command, stream, payload in decoder.feed(packet.data[12:]):
            update = decodeUpdate(payload) if command == UPD else ()
            found[key].append((decoder.version or 0, command, stream, len(payload), *update))
        assert decoder.error is None
    return found


def smuxShown(path: Path) -> Frames:
    found: Frames = defaultdict(list)
    fields = ("frame.interface_name", "kcptun.trace.number", "frame.p2p_dir", *FRAME, *UPDATE)
    for (place,), (number,), (way,), *cells in rows(path, *fields, show="kcptun.smux"):
        *frames, consumed, window = numbers(cells)
        updates = iter(zip(consumed, window))
        for frame in zip(*frames):
            update = next(updates) if frame[1] == UPD else ()
            found[place, int(number), way == "0"].append((*frame, *update))
    return found


def chunksOf(stream: bytes) -> list[tuple[int, int]]:
    chunks = []
    while stream:
        length = int.from_bytes(stream[1:4], "little")
        chunks.append((stream[0], length))
        stream = stream[4 + length :]
    return chunks


def erasureOf(data: bytes) -> list[list[int]]:
    operation, d, p, _, count = struct.unpack_from("<BBBBH", data, 12)
    lists: tuple[list[int], list[int]] = ([], [])
    offset = 18
    for _ in range(count):
        index, made, size = struct.unpack_from("<BBH", data, offset)
        lists[made].append(index)
        offset += 4 + size
    return [[operation], [d], [p], *lists]


def captured(tmp_path: Path, datagrams: list[bytes], up: list[bool]) -> Path:
    """A capture of UDP over IPv4, as of a network."""
    ipv4 = 228
    path = tmp_path / "capture.pcapng"
    parts = [sectionHeader("test"), interfaceDescription("eth0", ipv4, 65535)]
    for number, (datagram, isUp) in enumerate(zip(datagrams, up)):
        ports = (40000, 29900) if isUp else (29900, 40000)
        udp = struct.pack(">HHHH", *ports, 8 + len(datagram), 0) + datagram
        hosts = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0) + hosts + udp
        parts.append(enhancedPacket(0, number, packet, len(packet)))
    path.write_bytes(b"".join(parts))
    return path


def soundDatagram(chance: random.Random) -> bytes:
    segments = b""
    for _ in range(chance.randint(1, 4)):
        data = chance.randbytes(chance.choice((0, 1, 30)))
        segments += HEADER.pack(7, chance.randint(81, 84), 0, 9, 1, chance.getrandbits(32), 3, len(data)) + data
    kind = chance.choice((0, 0xF1, 0xF2))
    if kind == 0xF1:
        return struct.pack("<IHH", 5, kind, 2 + len(segments)) + segments
    return struct.pack("<IH", 6, kind) + segments if kind else segments


def mutilated(chance: random.Random) -> bytes:
    datagram = bytearray(soundDatagram(chance))
    for _ in range(chance.choice((0, 1, 1, 2))):
        what = chance.randrange(3)
        if what == 0 and datagram:
            datagram[chance.randrange(min(40, len(datagram)))] = chance.randrange(256)
        elif what == 1:
            del datagram[chance.randrange(len(datagram) + 1) :]
        else:
            datagram += chance.randbytes(chance.randrange(30))
    return bytes(datagram)


def sound(datagram: bytes) -> bool:
    """Whether a datagram is what its headers say it is, as our layers have it."""
    kind = struct.unpack_from("<H", datagram, 4)[0] if len(datagram) >= 6 else 0
    if kind == 0xF2:
        return len(datagram) > 6
    if kind == 0xF3:
        return True
    start, end = 0, len(datagram)
    if kind == 0xF1:
        size = struct.unpack_from("<H", datagram, 6)[0] if end >= 8 else 0
        if not 2 <= size <= end - 6:
            return False
        start, end = 8, 6 + size
    return isWhole(datagram, start, end)


def writeStrange(path: Path, seed: int) -> int:
    """Random, mutilated and sound bytes, whole and cut, for each of our dissectors.  Returns how many packets."""
    chance = random.Random(seed)
    trace = openTrace(str(path), Clock(), packetLimit=150)
    names = ["kcptun", *(f"kcptun.{name}" for name in ("sealed", "smux", "snappy", "stream", "erasure", "congestion"))]
    for _ in range(1500):
        name = chance.choice(names)
        size = chance.choice((0, 1, 4, 5, 6, 7, 8, 11, 12, 13, 17, 18, 23, 24, 25, 40, 300))
        data = mutilated(chance) if chance.random() < 0.3 else chance.randbytes(size)
        if chance.random() < 0.7 and name != "kcptun":
            head = struct.pack("<III", chance.randrange(40), 0, 0)
            begin = chance.choice((b"", encodeHeader(2, 4, 3, 8), encodeHeader(1, 2, 3, 50), b"\xff\6\0\0sNaPpY"))
            data = head + begin + data
        trace.place(name, name).saw(data, chance.choice((None, True, False)))
    trace.close()
    return 1500
