"""What a trace has of each seam, and that the layers in it work as they do without."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from endpointworld import Recorder as AskingRecorder
from endpointworld import World
from pcapngfile import items, packets, statistics
from twisted.internet import defer
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface import alsoProvides, implementer
from zope.interface.verify import verifyObject

from kcpstack.addresses import KCPAddress
from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.ciphers import CIPHERS
from kcpstack.counters import Counters
from kcpstack.interfaces import (
    IARQ,
    IBatchCipher,
    ICipherFactory,
    ICompressor,
    ICompressorFactory,
    ICongestionControl,
    ICongestionControlFactory,
    IDatagramTransport,
    IDatagramTransportFactory,
    IErasureCode,
    IErasureCodeFactory,
    IPacketCipher,
    IRelayTarget,
    ITrafficMarking,
)
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.congestion import FixedWindow
from kcpstack.layers.datagram import UDPTransport
from kcpstack.seams import COMPRESSORS, CONGESTION_CONTROLS, ERASURE_CODES, TRANSPORTS, layersOf
from kcpstack.testing.datagrams import SocketClock
from kcpstack.testing.network import SimulatedNetwork
from kcpstack.testing.streams import HalfCloseableRecorder, Recorder, StreamTransportConformance
from kcpstack.testing.tracing import Trace, TracingLayer, openTrace, traced
from kcpstack.testing.transports import connectedPair

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.append(str(CHECKOUT / "examples"))

from trace_simulation import record


class Kept(io.BytesIO):
    """A file whose bytes outlive it."""

    def close(self) -> None:
        self.kept = self.getvalue()
        super().close()


class Traced:
    """A trace in memory, of one layer."""

    def __init__(self, layer, **names) -> None:
        self.file = Kept()
        self.clock = Clock()
        self.clock.advance(5)
        self.trace = Trace(self.file, self.clock)
        self.layer = TracingLayer(layer, self.trace, **names)

    def seen(self):
        return items(self.file.getvalue())

    def datagrams(self):
        return [(packet.outbound, packet.data) for packet in self.seen()]


def recorded(tmp_path: Path, name: str = "trace", **settings) -> Path:
    path = tmp_path / f"{name}.pcapng"
    with open(path, "wb") as file:
        record(file, **settings)
    return path


# ------------------------------------------------------------------ a whole tunnel


def test_the_same_seed_gives_the_same_file_byte_for_byte(tmp_path):
    first = recorded(tmp_path, "first", seed=3, loss=0.05).read_bytes()
    assert recorded(tmp_path, "second", seed=3, loss=0.05).read_bytes() == first
    assert recorded(tmp_path, "third", seed=4, loss=0.05).read_bytes() != first


def test_both_ends_of_a_tunnel_are_seen_at_every_place(tmp_path):
    counts = Counter(packet.place for packet in packets(recorded(tmp_path, loss=0.1)))
    places = {"wire", "opened", "erasure", "compressed", "congestion", "smux"}
    assert counts.keys() == {f"{end} {place}" for end in ("client", "server") for place in places} | {"client stream"}


def test_what_one_end_sent_and_nobody_lost_the_other_end_received(tmp_path):
    seen = packets(recorded(tmp_path))
    for place in ("wire", "opened"):
        for here, there in (("client", "server"), ("server", "client")):
            sent = [p.data for p in seen if p.place == f"{here} {place}" and p.outbound]
            received = [p.data for p in seen if p.place == f"{there} {place}" and not p.outbound]
            assert len(received) > 30
            assert received == sent[: len(received)]  # the last ones were still under way


def test_the_wire_tells_both_addresses_and_the_time(tmp_path):
    seen = [packet for packet in packets(recorded(tmp_path)) if packet.place.endswith("wire")]
    server, client = bytes([10, 0, 0, 1]), bytes([10, 99, 0, 1])
    for packet in seen:
        fromClient = (packet.place == "client wire") == packet.outbound
        assert (packet.tags[20], packet.tags[21]) == ((client, server) if fromClient else (server, client))
    assert seen[0].microseconds == 0
    assert next(p for p in seen if p.place == "server wire").microseconds == 20_000


def test_a_trace_of_a_tunnel_without_compression_and_fec_has_its_smux_frames(tmp_path):
    seen = packets(recorded(tmp_path, nocomp=True, datashard=0))
    places = {packet.place for packet in seen}
    assert {"client smux", "server smux"} <= places
    assert not {"client compressed", "client erasure"} & places


def test_endpoints_are_traced_through_the_layers_and_transports_that_they_are_given():
    world, file = World(), Kept()
    trace = Trace(file, world.clock)

    def layers(settings):
        return traced(layersOf(settings), trace)

    world.listen()
    world.sockets = TracingLayer(world.sockets, trace)
    client = TracingLayer(world.client(layers=layers), trace)
    protocol = world.connect(client, lambda: AskingRecorder(b"question"))
    assert type(protocol) is AskingRecorder
    assert world.run(lambda: protocol.received == b"question")
    counts = Counter(packet.place for packet in items(file.getvalue()))
    assert counts.keys() == {"wire", "opened", "compressed", "congestion", "smux", "stream"}
    said = [(p.outbound, p.data[12:]) for p in items(file.getvalue()) if p.place == "stream"]
    assert said == [(True, b"question"), (False, b"question")]


# ------------------------------------------------------------------ bounds


def test_no_more_is_kept_of_a_packet_than_its_limit(tmp_path):
    whole = packets(recorded(tmp_path, "whole"))
    cut = packets(recorded(tmp_path, "cut", packetLimit=200))
    assert len(cut) == len(whole)
    assert any(packet.leftOff for packet in cut)
    for mine, theirs in zip(cut, whole):
        assert mine.data == theirs.data[: len(mine.data)]
        assert len(mine.data) + mine.leftOff == len(theirs.data)


def test_a_file_stays_below_its_limit_and_tells_what_it_lacks(tmp_path):
    whole = recorded(tmp_path, "whole")
    cut = recorded(tmp_path, "cut", fileLimit=100_000)
    said = statistics(cut)
    assert cut.stat().st_size <= 100_000 + 100 * len(said)
    assert [(s.place, s.seen) for s in said] == [(s.place, s.seen) for s in statistics(whole)]
    assert sum(s.seen - s.leftOut for s in said) == len(packets(cut)) > 0
    assert all(s.leftOut == 0 for s in statistics(whole))


def test_a_long_write_becomes_packets_that_wireshark_takes():
    subject = Traced(Recorder(), dissector="data")
    subject.layer.makeConnection(Sink())
    subject.layer.original.transport.write(bytes(1_000_000))
    assert [len(packet.data) for packet in subject.seen()] == [65_536] * 15 + [1_000_000 % 65_536]


def test_a_disk_that_is_full_ends_the_trace_and_not_the_tunnel(tmp_path):
    class Full(io.BytesIO):
        def write(self, data):
            if self.tell() > 50_000:
                raise OSError(28, "No space left on device")
            return super().write(data)

    file = Full()
    record(file)
    assert 50_000 < file.tell() < 60_000
    items(file.getvalue())


class Failing(io.BytesIO):
    """From the first packet on it answers as ``fail`` does."""

    fail = None

    def write(self, data):
        return super().write(data) if self.fail is None else self.fail(data)

    def writeHalf(self, data):
        return super().write(data[: len(data) // 2])

    def raiseError(self, data):
        raise OSError(28, "No space left on device")

    def beClosed(self, data):
        raise ValueError("write to closed file")

    def refuse(self, data):
        return None


@pytest.mark.parametrize("fail", [Failing.writeHalf, Failing.raiseError, Failing.beClosed, Failing.refuse])
def test_a_write_that_fails_or_falls_short_ends_the_trace_with_one_line(fail):
    file = Failing()
    trace = Trace(file, Clock())
    place = trace.place("here", "data")
    whole = trace.written
    with capturedLogs() as logged:
        file.fail = fail.__get__(file)
        place.saw(bytes(100))
        longer = len(file.getvalue())
        file.fail = None
        place.saw(bytes(100))
        trace.close()
    assert [event["log_format"] for event in logged] == ["The trace ends here: {error}"]
    assert trace.written == whole <= len(file.getvalue()) == longer


def test_a_trace_is_for_its_owner_alone_and_is_complete_before_it_is_closed(tmp_path):
    path = tmp_path / "trace.pcapng"
    before = os.umask(0)
    try:
        trace = openTrace(str(path), Clock())
    finally:
        os.umask(before)
    trace.place("here", "data").saw(b"seen")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [packet.data for packet in packets(path)] == [b"seen"]
    trace.close()
    trace.place("here", "data").saw(b"too late")
    assert [packet.data for packet in packets(path)] == [b"seen"]


def test_a_file_that_others_could_read_is_for_its_owner_alone_from_then_on(tmp_path):
    path = tmp_path / "trace.pcapng"
    path.write_bytes(b"of an earlier trace " * 1000)
    path.chmod(0o644)
    openTrace(str(path), Clock()).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"earlier" not in path.read_bytes()


def linked(path):
    path.with_name("theirs").write_bytes(b"theirs")
    path.symlink_to("theirs")


def dangling(path):
    path.symlink_to("theirs")


def fifoThatIsRead(path):
    os.mkfifo(path)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


@pytest.mark.parametrize("make", [linked, dangling, os.mkfifo, fifoThatIsRead, os.mkdir])
def test_what_is_no_plain_file_gets_no_trace_and_its_user_is_told_what_would_do(tmp_path, make):
    path = tmp_path / "trace.pcapng"
    reader = make(path)
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(OSError) as raised:
        openTrace(str(path), Clock())
    assert raised.value.strerror.endswith("; give the name of a new file, or of a plain file of this user's")
    assert os.listdir("/proc/self/fd") == descriptors
    if reader is not None:
        os.close(reader)
    assert [each.read_bytes() for each in tmp_path.glob("theirs")] in ([], [b"theirs"])


def test_the_file_of_another_user_is_left_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / "trace.pcapng"
    path.write_bytes(b"theirs")
    path.chmod(0o666)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(PermissionError, match="another user"):
        openTrace(str(path), Clock())
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"theirs", 0o666)


def test_a_tunnel_that_is_not_traced_imports_nothing_for_it():
    program = (
        "import sys; from kcpstack.service import makeService; from kcpstack.options import ServerOptions as Options;"
        "options = Options(); options.parseOptions([]); makeService(options);"
        "print([name for name in sys.modules if name.startswith('kcpstack.testing')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


# ------------------------------------------------------------------ each layer


def test_whatever_is_traced_provides_the_same_interface():
    layers = [
        (ICipherFactory, CIPHERS.find("aes")),
        (IBatchCipher, CIPHERS.find("aes").build(bytes(32), os.urandom)),
        (IPacketCipher, Rot()),
        (IErasureCodeFactory, ERASURE_CODES.find("reedsolomon")),
        (IErasureCode, ERASURE_CODES.find("reedsolomon").build(3, 2)),
        (ICompressorFactory, COMPRESSORS.find("snappy")),
        (ICompressor, COMPRESSORS.find("snappy").build()),
        (ICongestionControlFactory, CONGESTION_CONTROLS.find("slowstart")),
        (ICongestionControl, CONGESTION_CONTROLS.find("slowstart").build(100)),
        (IDatagramTransportFactory, TRANSPORTS.find("udp")),
        (IDatagramTransport, SimulatedNetwork(Clock(), 1).transport()),
        (IARQ, newARQ()),
        (IRelayTarget, Target()),
    ]
    for interface, layer in layers:
        assert verifyObject(interface, Traced(layer).layer)


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match="trace the protocol on it"):
        Traced(Sink())


def test_a_cipher_is_seen_without_its_seal_and_what_it_refuses_is_not():
    subject = Traced(Rot())
    assert subject.layer.open(memoryview(subject.layer.seal(memoryview(b"plain")))) == b"plain"
    assert subject.layer.open(memoryview(b"forged")) is None
    assert subject.datagrams() == [(True, b"plain"), (False, b"plain")]


def test_a_batch_is_seen_before_it_is_sealed_and_after_it_was_opened():
    subject = Traced(CIPHERS.find("aes"))
    cipher = subject.layer.build(bytes(32), random.Random(1).randbytes)
    out = outboundBatch(1400, cipher.overhead)
    for datagram in (b"one", b"two"):
        out.append(datagram)
    cipher.sealBatch(out)
    arrived = inboundBatch([*out, b"forged"], [("192.0.2.1", 5)] * 3)
    assert cipher.openBatch(arrived) == 1
    assert subject.datagrams() == [(True, b"one"), (True, b"two"), (False, b"one"), (False, b"two")]
    assert [20 in packet.tags for packet in subject.seen()] == [False, False, True, True]


@implementer(IBatchCipher)
class Growing:
    """Makes the buffer longer, as it may."""

    overhead = 0

    def sealBatch(self, batch):
        batch.buffer.extend(bytes(100))

    def openBatch(self, batch):
        batch.buffer.extend(bytes(100))
        return 0


def test_a_buffer_can_grow_while_its_datagrams_are_traced():
    subject, batch = Traced(Growing()), outbound(b"datagram")
    subject.layer.sealBatch(batch)
    subject.layer.openBatch(batch)
    batch.buffer.extend(bytes(100))
    assert subject.datagrams() == [(True, b"datagram"), (False, b"datagram")]


def test_a_code_is_seen_with_what_it_was_given_and_what_it_made():
    subject = Traced(ERASURE_CODES.find("reedsolomon"))
    code = subject.layer.build(2, 1)
    (parity,) = code.encode([b"first", b"second"])
    assert code.reconstruct({1: b"second", 2: parity}) == {0: b"first\0"}
    with pytest.raises(ValueError):
        code.reconstruct({1: b"second"})
    encode, rebuild, refused = subject.seen()
    head = struct.pack("<III", 1, 0, 0)

    def shard(index, made, data):
        return struct.pack("<BBH", index, made, len(data)) + data

    assert encode.data == head + struct.pack("<BBBBH", 0, 2, 1, 0, 3) + (
        shard(0, 0, b"first") + shard(1, 0, b"second") + shard(2, 1, parity)
    )
    assert rebuild.data == head + struct.pack("<BBBBH", 1, 2, 1, 0, 3) + (
        shard(1, 0, b"second") + shard(2, 0, parity) + shard(0, 1, b"first\0")
    )
    assert refused.comment.startswith("refused: ")


def test_a_congestion_control_is_seen_with_its_window():
    subject = Traced(CONGESTION_CONTROLS.find("slowstart"))
    control = subject.layer.build(100)
    first = control.window
    control.acknowledged(1, 3, 10.0)
    second = control.window
    control.skipped(2, 4, 20.0)
    third = control.window
    control.timedOut(1, 5, 30.0)
    told = [struct.unpack_from("<IIII", packet.data, 12) for packet in subject.seen()]
    assert told == [(0, 0, 0, first), (1, 1, 3, second), (2, 2, 4, third), (3, 1, 5, control.window)]
    assert len({first, second, third, control.window}) > 2


def test_a_compressor_is_seen_with_the_bytes_of_the_wire():
    subject = Traced(COMPRESSORS.find("snappy"))
    here, there = subject.layer.build(), subject.layer.build()
    compressed = here.compress(b"a" * 1000)
    assert there.decompress(compressed) == b"a" * 1000
    head = struct.Struct("<III")
    assert subject.datagrams() == [(True, head.pack(1, 0, 0) + compressed), (False, head.pack(2, 0, 0) + compressed)]


def test_an_arq_is_seen_with_its_datagrams_and_those_that_were_rebuilt():
    here, there = Traced(newARQ()), newARQ()
    here.layer.write(b"hello")
    batch = outboundBatch(1400, 0)
    batch.append(b"not this one")
    here.layer.flush(0.0, batch)
    _, push = batch
    there.datagramsReceived(inboundBatch([push]), 0.0)
    answers = outboundBatch(1400, 0)
    there.write(b"answer")
    there.flush(0.0, answers)
    answer = bytes(next(iter(answers)))
    here.layer.datagramsReceived(inboundBatch([answer]), 1.0, recovered=True)
    assert [(p.outbound, p.data, p.comment) for p in here.seen()] == [
        (True, bytes(push), ""),
        (False, answer, "rebuilt by FEC"),
    ]
    assert b"".join(here.layer.read(100)) == b"answer"
    here.layer.strained = True
    assert here.layer.original.strained


def test_a_transport_is_seen_with_what_it_sends_and_delivers():
    clock = Clock()
    network = SimulatedNetwork(clock, 1)
    subject = Traced(network.transport(("10.0.0.1", 1)), end="server")
    far = network.transport(("10.0.0.2", 2), peer=("10.0.0.1", 1))
    received = []
    subject.layer.startListening(Delivered(received))
    far.startListening(Delivered([]))
    far.send(outbound(b"question"), None)
    clock.advance(1)
    subject.layer.send(outbound(b"answer"), ("10.0.0.2", 2))
    assert received == [b"question"]
    assert subject.datagrams() == [(False, b"question"), (True, b"answer")]
    assert all(packet.place == "server wire" for packet in subject.seen())


def test_a_transport_that_has_been_closed_sends_as_little_as_without_a_trace():
    subject = Traced(UDPTransport(SocketClock(), Counters(), "127.0.0.1"))
    subject.layer.startListening(Delivered([]))
    port = subject.layer.getHost().port
    subject.layer.stopListening()
    subject.layer.send(outbound(b"late"), ("127.0.0.1", 9))
    (packet,) = subject.seen()
    assert packet.tags[25] == struct.pack(">I", port)


def test_a_transport_that_can_mark_what_it_sends_still_can():
    @implementer(IDatagramTransport, ITrafficMarking)
    class Marking:
        def setDSCP(self, dscp):
            self.marked = dscp

    marking = Marking()
    subject = Traced(marking).layer
    assert ITrafficMarking.providedBy(subject)
    subject.setDSCP(10)
    assert marking.marked == 10
    assert not ITrafficMarking.providedBy(Traced(SimulatedNetwork(Clock(), 1).transport()).layer)


def test_a_transport_that_is_dialled_shows_where_to():
    class Dialling:
        name, overhead = "dialling", 0

        def dial(self, context, host, port, ports):
            return SimulatedNetwork(Clock(), 1).transport(peer=(host, port))

        listen = None

    subject = Traced(implementer(IDatagramTransportFactory)(Dialling)())
    subject.layer.dial(None, "2001:db8::1", 29900, range(29900, 29901)).send(outbound(b"x"), None)
    (packet,) = subject.seen()
    assert packet.tags[23] == bytes.fromhex("20010db8000000000000000000000001")


def test_a_protocol_is_seen_with_both_directions_its_session_and_its_stream():
    subject = Traced(Recorder(), place="application")
    near = Sink()
    subject.layer.makeConnection(near)
    subject.layer.dataReceived(b"question")
    subject.layer.original.transport.writeSequence([b"ans", b"wer"])
    assert subject.layer.original.received == b"question"
    assert near.written == [b"answer"]
    head = struct.pack("<III", 1, 7, 3)
    assert [(p.place, p.outbound, p.data) for p in subject.seen()] == [
        ("application", False, head + b"question"),
        ("application", True, head + b"answer"),
    ]
    assert subject.seen()[1].tags[20] == bytes([10, 0, 0, 9])


@pytest.mark.parametrize("protocol", [Recorder, HalfCloseableRecorder])
def test_a_protocol_hears_of_a_half_close_where_it_wants_to(protocol):
    subject = Traced(protocol())
    heard = IHalfCloseableProtocol(subject.layer, None)
    assert (heard is not None) == (protocol is HalfCloseableRecorder)


def test_bytes_for_another_dissector_come_without_our_context():
    subject = Traced(Recorder(), dissector="http")
    subject.layer.makeConnection(Sink())
    subject.layer.dataReceived(b"HTTP/1.1 200 OK")
    assert subject.datagrams() == [(False, b"HTTP/1.1 200 OK")]


def test_an_endpoint_gives_its_caller_the_protocol_that_the_factory_made():
    subject = Traced(Target())
    endpoint = subject.layer.endpoint(None, "argument")
    factory = Factory.forProtocol(Recorder)
    got = []
    endpoint.connect(factory).addCallback(got.append)
    assert type(got[0]) is Recorder
    got[0].transport.write(b"seen")
    assert [packet.data[12:] for packet in subject.seen()] == [b"seen"]


def test_a_layer_that_breaks_its_contract_does_so_as_without_a_trace():
    class Broken:
        overhead, dataShards, parityShards, window = 0, 10**6, "p", -1.5

        def answer(self, *arguments):
            return 5

        def hear(self, *arguments):
            """Whatever it is told."""

        seal = open = encode = reconstruct = compress = decompress = answer
        acknowledged = skipped = timedOut = hear

    calls = {
        IPacketCipher: [("seal", b"x"), ("open", b"x")],
        IErasureCode: [("encode", [b"x"]), ("encode", None), ("reconstruct", {0: b"x"})],
        ICompressor: [("compress", b"x"), ("decompress", b"x")],
        ICongestionControl: [("acknowledged", 1, 2, 3.0), ("skipped", -1, 2, 3.0), ("timedOut", "1", 2, 3.0)],
    }
    for interface, each in calls.items():
        broken = Broken()
        alsoProvides(broken, interface)
        subject = Traced(broken)
        for name, *arguments in each:
            assert getattr(subject.layer, name)(*arguments) == getattr(broken, name)(*arguments)
        assert any(packet.comment.startswith("not shown: ") for packet in subject.seen())


def test_a_layer_whose_attributes_raise_is_traced_without_them():
    class Broken(FixedWindow):
        @property
        def window(self):
            raise ZeroDivisionError("no window")

        window = window.setter(lambda self, segments: None)

    subject = Traced(Broken(5))
    subject.layer.acknowledged(1, 2, 3.0)
    assert [packet.comment for packet in subject.seen()] == ["not shown: ZeroDivisionError('no window')"] * 2


class TestStreamsOfTracedSessionsAndProtocols(StreamTransportConformance):
    """All that protocols rely on holds with a trace in between."""

    def connect(self, near, far):
        from kcpstack.layers.smux import SmuxSession

        clock = Clock()
        trace = Trace(Kept(), clock)
        factory = Factory()
        factory.buildProtocol = lambda address: far
        options = {"version": 2, "frameSize": 1000, "streamBuffer": 65536, "sessionBuffer": 1 << 20, "keepalive": 10}
        client = SmuxSession(clock, Counters(), **options)
        server = SmuxSession(clock, Counters(), streamFactory=TracingLayer(factory, trace), **options)
        for transport, mux in zip(connectedPair(clock), (client, server)):
            transport.start(TracingLayer(mux, trace, place="smux", dissector="kcptun.smux"))
        client.openStream(TracingLayer(near, trace))
        clock.pump([0.01] * 20)
        return clock


# ------------------------------------------------------------------ stand-ins


@implementer(IPacketCipher)
class Rot:
    overhead = 1

    def seal(self, datagram):
        return b"!" + bytes(byte ^ 1 for byte in datagram)

    def open(self, datagram):
        return bytes(byte ^ 1 for byte in datagram[1:]) if datagram[:1] == b"!" else None


def newARQ():
    return ARQ(7, 1400, Tuning(), CONGESTION_CONTROLS.find("fixed").build(128), Counters())


def outbound(datagram):
    batch = outboundBatch(1400, 0)
    batch.append(datagram)
    return batch


class Delivered:
    def __init__(self, into):
        self.into = into

    def datagramsReceived(self, batch):
        self.into += map(bytes, batch)


class Sink:
    """A transport that only takes."""

    streamID = 3

    def __init__(self):
        self.written = []

    def write(self, data):
        self.written.append(data)

    def getHost(self):
        return KCPAddress("10.0.0.9", 9, 7)

    def getPeer(self):
        return KCPAddress("fe80::1%eth0", 29900, 7)


@implementer(IRelayTarget)
class Target:
    name = "nowhere"

    def endpoint(self, reactor, argument):
        return Endpoint()


class Endpoint:
    def connect(self, factory):
        protocol = factory.buildProtocol(None)
        protocol.makeConnection(Sink())
        return defer.succeed(protocol)
