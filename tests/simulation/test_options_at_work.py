"""Options that tune the protocol, seen on the wire of a whole stack: each reaches its layer and does its work.

Without a cipher and without compression a datagram is KCP, and what KCP carries is smux, in plain sight.
"""

from __future__ import annotations

import os
import socket
import struct

import pytest
from tunnel import Recorder, Tunnel
from twisted.internet.testing import MemoryReactorClock

from kcpstack.kernels.segment import ACK, HEADER, OVERHEAD, PUSH
from kcpstack.options import MODES, Address, ServerSettings
from kcpstack.service import ServerService
from kcpstack.stack import tuningOf

PLAIN = {"crypt": "null", "datashard": 0, "parityshard": 0, "nocomp": True, "smuxver": 1}
FRAME = struct.Struct("<BBHI")
PSH, NOP, UPD = 2, 3, 4


class Watched(Tunnel):
    """A tunnel whose datagrams are kept: ``up`` and ``down`` are lists of (ms, bytes)."""

    def __init__(self, **options) -> None:
        self.up: list[tuple[float, bytes]] = []
        self.down: list[tuple[float, bytes]] = []
        super().__init__(**{"serves": Recorder, **PLAIN, **options})

    def startServer(self, factory=None) -> None:
        super().startServer(factory)
        self._keep(self.transport, self.down)

    def newSocket(self, peer):
        return self._keep(super().newSocket(peer), self.up)

    def _keep(self, transport, kept):
        send = transport.send

        def sending(batch, address) -> None:
            pieces = [bytes(batch.buffer[start:end]) for start, end in zip(batch.starts, batch.ends)]
            kept.extend((self.clock.seconds() * 1000, piece) for piece in pieces)
            send(batch, address)

        transport.send = sending
        return transport

    def established(self):
        """A stream of a session that both ends know."""
        stream = self.open(b"x")
        assert self.run(lambda: self.served and self.served[0].received)
        self.advance(1)
        return stream


def segments(datagrams, command: int):
    """(ms, header, data) of each KCP segment with this command."""
    for ms, datagram in datagrams:
        start = 0
        while start < len(datagram):
            header = HEADER.unpack_from(datagram, start)
            start += OVERHEAD + header[7]
            if header[1] == command:
                yield ms, header, datagram[start - header[7] : start]


def frames(datagrams):
    """(ms, version, command, stream, payload) of each smux frame in what was pushed."""
    pieces = {header[5]: (ms, data) for ms, header, data in segments(datagrams, PUSH)}
    stream = b"".join(pieces[sn][1] for sn in sorted(pieces))
    times = [ms for sn in sorted(pieces) for ms in [pieces[sn][0]] * len(pieces[sn][1])]
    start = 0
    while start < len(stream):
        version, command, length, number = FRAME.unpack_from(stream, start)
        yield times[start], version, command, number, stream[start + FRAME.size : start + FRAME.size + length]
        start += FRAME.size + length


@pytest.mark.option("mode", "nodelay", "interval", "resend", "nc")
@pytest.mark.parametrize("mode", MODES)
def test_a_mode_and_its_four_values_are_one_tuning(mode):
    values = MODES[mode]._asdict()
    assert tuningOf(ServerSettings(mode=mode)) == tuningOf(ServerSettings(mode="manual", **values))
    assert tuningOf(ServerSettings(mode="manual", resend=7)).resend == 7


@pytest.mark.option("interval")
@pytest.mark.parametrize("interval", [10, 40, 300])
def test_an_ack_by_itself_waits_for_the_interval(interval):
    it = Watched(mode="manual", interval=interval, nc=1)
    stream = it.established()
    del it.up[:], it.down[:]
    stream.transport.write(b"y")
    it.advance(1)
    (sent, *_), (acked, *_) = next(segments(it.up, PUSH)), next(segments(it.down, ACK))
    assert acked - sent == pytest.approx(10 + interval, abs=2)


@pytest.mark.option("acknodelay")
def test_with_acknodelay_it_does_not_wait():
    it = Watched(mode="manual", interval=300, nc=1, acknodelay=True)
    stream = it.established()
    del it.up[:], it.down[:]
    stream.transport.write(b"y")
    it.advance(1)
    (sent, *_), (acked, *_) = next(segments(it.up, PUSH)), next(segments(it.down, ACK))
    assert acked - sent == pytest.approx(10, abs=2)


@pytest.mark.option("nodelay")
@pytest.mark.parametrize(("nodelay", "growth"), [(0, 2.0), (1, 1.5)])
def test_a_segment_is_sent_again_after_timeouts_that_grow_as_nodelay_says(nodelay, growth):
    it = Watched(listening=False, mode="manual", interval=10, nodelay=nodelay)
    it.open(b"x")
    it.advance(2)
    times = [ms for ms, header, _ in segments(it.up, PUSH) if header[5] == 0]
    waits = [after - before for before, after in zip(times, times[1:])]
    assert waits[0] == pytest.approx(200, abs=2)
    assert waits[1] == pytest.approx(200 * growth, abs=2)


@pytest.mark.option("nc")
def test_nc_opens_the_window_at_once():
    def firstFlight(nc: int) -> int:
        it = Watched(mode="manual", nc=nc, sndwnd=30)
        it.open(b"x" * 1_000_000)
        it.advance(0.005)
        return sum(1 for _ in segments(it.up, PUSH))

    assert firstFlight(1) == 30 > firstFlight(0)


@pytest.mark.option("sndwnd", "rcvwnd")
def test_windows_bound_what_is_out_and_are_what_the_peer_is_told():
    it = Watched(mode="fast3", sndwnd=5, rcvwnd=77)
    it.open(b"x" * 1_000_000)
    it.advance(0.005)
    pushes = list(segments(it.up, PUSH))
    assert len(pushes) == 5
    assert {header[3] for _, header, _ in pushes} == {77}


@pytest.mark.option("mtu")
@pytest.mark.parametrize("mtu", [200, 1500])
def test_no_datagram_is_longer_than_the_mtu_and_full_ones_are_as_long(mtu):
    it = Watched(mtu=mtu, crypt="none", datashard=3, parityshard=1)
    it.established()
    it.open(b"x" * 20_000)
    assert it.run(lambda: len(it.served) == 2 and len(it.served[1].received) == 20_000)
    assert max(len(datagram) for _, datagram in it.up) == mtu


@pytest.mark.option("datashard", "parityshard")
@pytest.mark.parametrize("shards", [(10, 3), (3, 2)])
def test_parity_follows_each_group_of_data(shards):
    it = Watched(datashard=shards[0], parityshard=shards[1], mode="fast3")
    it.established()
    it.up.clear()
    it.open(b"x" * 60_000)
    assert it.run(lambda: len(it.served) == 2 and len(it.served[1].received) == 60_000)
    kinds = [struct.unpack_from("<IH", datagram) for _, datagram in it.up]
    group = [0xF1] * shards[0] + [0xF2] * shards[1]
    for seqid, kind in kinds:
        assert kind == group[seqid % sum(shards)]
    assert {seqid % sum(shards) for seqid, _ in kinds} == set(range(sum(shards)))


@pytest.mark.option("datashard", "parityshard")
@pytest.mark.parametrize("off", [{"datashard": 0, "parityshard": 3}, {"datashard": 10, "parityshard": 0}])
def test_either_of_them_0_switches_fec_off(off):
    it = Watched(**off)
    it.established()
    assert all(datagram[4] in range(81, 85) for _, datagram in it.up + it.down)


@pytest.mark.option("smuxver", "framesize")
@pytest.mark.parametrize("version", [1, 2])
def test_frames_have_the_version_and_are_no_longer_than_framesize(version):
    it = Watched(smuxver=version, framesize=1000)
    it.open(b"x" * 20_500)
    assert it.run(lambda: it.served and len(it.served[0].received) == 20_500)
    sent = list(frames(it.up))
    assert {frame[1] for frame in sent} == {version}
    assert max(len(frame[4]) for frame in sent if frame[2] == PSH) == 1000


@pytest.mark.option("streambuf")
def test_the_peer_is_told_streambuf_as_the_window_of_a_stream():
    it = Watched(smuxver=2, streambuf=65_536)
    it.established()
    (window,) = {struct.unpack("<II", payload)[1] for _, _, command, _, payload in frames(it.down) if command == UPD}
    assert window == 65_536


@pytest.mark.option("smuxbuf", "streambuf")
@pytest.mark.parametrize("smuxbuf", [100_000, 1_000_000])
def test_what_nobody_reads_is_bounded_by_smuxbuf(smuxbuf):
    class Stopped(Recorder):
        def connectionMade(self):
            self.transport.pauseProducing()

    it = Watched(serves=Stopped, smuxbuf=smuxbuf, streambuf=65_536, rcvwnd=16)
    it.open(b"x" * 4_000_000)
    it.advance(20)
    (mux,) = it.server._muxes.values()
    assert smuxbuf < mux.unread < smuxbuf + 100_000


@pytest.mark.option("keepalive")
@pytest.mark.parametrize("seconds", [3, 20])
def test_an_idle_session_says_nop_every_keepalive_seconds(seconds):
    it = Watched(keepalive=seconds)
    it.client.start()
    it.advance(10 * seconds + 1)
    times = [ms for ms, _, command, number, _ in frames(it.up) if (command, number) == (NOP, 0)]
    assert len(times) == 10
    assert {round((after - before) / 1000) for before, after in zip(times, times[1:])} == {seconds}


@pytest.mark.option("sockbuf", "dscp")
def test_the_socket_has_its_buffers_and_its_mark():
    wanted = ServerSettings(listen=Address("127.0.0.1", 0), sockbuf=30_000, dscp=46)
    service = ServerService(MemoryReactorClock(), wanted)
    service.startService()
    with socket.socket(fileno=os.dup(service.server.port.transport.fileno())) as opened:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            assert opened.getsockopt(socket.SOL_SOCKET, option) == 60_000  # Linux doubles it (socket(7))
        assert opened.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
    service.stopService()
