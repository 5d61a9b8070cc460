"""--dscp: what we send carries it, in every family, on the socket and on the packets themselves."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from contextlib import ExitStack

import pytest
from twisted.logger import capturedLogs, formatEvent
from udpends import FakeReactor, Receiver, batchOf

from kcpstack.counters import Counters
from kcpstack.layers.datagram import UDPTransport
from kcpstack.layers.udpsocket import markTraffic

pytestmark = pytest.mark.option("dscp")

DSCP, BYTE = 46, 46 << 2  # "expedited forwarding", and the byte of the header that it makes
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
PATIENCE = 10  # s until a test gives up on a packet


class Witness:
    """A plain UDP socket that knows the traffic class of what comes to it: from the kernel, and from the
    packets themselves where this process may capture them."""

    def __init__(self, family: int) -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind((LOOPBACK[family], 0))
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
        else:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        self.address = self.socket.getsockname()[:2]
        try:
            self.capture = captureOf(self.address[1])
        except PermissionError:
            self.capture = None

    def classesOf(self, sizes: list[int]) -> list[set[int]]:
        """The bytes seen on the datagrams of these lengths that come next: one set by the kernel's word, and
        one by the packets'."""
        found = [{self._received(size) for size in sizes}]
        if self.capture is not None:
            found.append(self._captured(sum(sizes)))
        return found

    def _received(self, size: int) -> int:
        data, control, _flags, _source = self.socket.recvmsg(65536, 256)
        assert len(data) == size
        ((_level, _kind, value),) = control
        return int.from_bytes(value, "little") & 255

    def _captured(self, length: int) -> set[int]:
        classes = set()
        while length:  # a run is one packet here: it is cut by the receiver
            packet, (_device, _protocol, kind, *_) = self.capture.recvfrom(1 << 17)
            version = packet[0] >> 4
            if kind != PACKET_OUTGOING or packet[9 if version == 4 else 6] != UDP:
                continue
            if version == 4:
                classes.add(packet[1])
                length -= len(packet) - 4 * (packet[0] & 15) - UDP_HEADER
            else:
                classes.add(int.from_bytes(packet[:2], "big") >> 4 & 255)
                length -= len(packet) - IPV6_HEADER - UDP_HEADER
        return classes

    def close(self) -> None:
        self.socket.close()
        if self.capture is not None:
            self.capture.close()


def captureOf(port: int) -> socket.socket:
    """A socket that sees the IP packets on the loopback device that go to a UDP port, and no others."""
    program = (
        (0x30, 0, 0, 0),  # the first byte
        (0x54, 0, 0, 0xF0),
        (0x15, 0, 3, 0x40),  # not IPv4: on to the half word at 42
        (0xB1, 0, 0, 0),  # the length of an IPv4 header
        (0x48, 0, 0, 2),  # the half word 2 behind it
        (0x05, 0, 0, 1),
        (0x28, 0, 0, 42),
        (0x15, 0, 1, port),
        (0x06, 0, 0, 0xFFFFFFFF),  # take all of it
        (0x06, 0, 0, 0),  # or nothing
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in program))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))
    sock.bind(("lo", ETH_P_ALL))
    return sock


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


class Case:
    """A transport with a DSCP and a witness that it sends to: ``kind`` says which."""

    def __init__(self, kind: str, stack: ExitStack, dscp: int = DSCP) -> None:
        end, _, version = kind.partition(" to ")
        family = socket.AF_INET6 if version == "IPv6" else socket.AF_INET
        self.reactor = FakeReactor()
        self.witness = Witness(family)
        stack.callback(self.witness.close)
        where: dict = {"peer": self.witness.address} if end == "client" else {}
        if end == "server":
            where["host"] = LOOPBACK[family]
        self.transport = UDPTransport(self.reactor, Counters(), dscp=dscp, **where)
        self.heard = Receiver()
        self.transport.startListening(self.heard)
        stack.callback(self.transport.stopListening)
        self.to = None
        if end != "client":
            self.witness.socket.sendto(b"hello", (LOOPBACK[family], self.transport.getHost().port))
            self.transport.doRead()
            self.to = self.heard.datagrams[0][1]

    def send(self, sizes: list[int]) -> list[set[int]]:
        self.transport.send(batchOf(sizes), self.to)
        return self.witness.classesOf(sizes)

    def option(self, level: int, option: int) -> int:
        return self.transport._socket.getsockopt(level, option)


IPV4_KINDS = ["client to IPv4", "server to IPv4"]
DUAL_KINDS = ["dual stack to IPv4", "dual stack to IPv6"] if socket.has_dualstack_ipv6() else []
IPV6_KINDS = ["client to IPv6", "server to IPv6"] if socket.has_ipv6 else []
KINDS = IPV4_KINDS + DUAL_KINDS + IPV6_KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sizes", [[100], [1000] * 40 + [7]], ids=["one datagram", "a run"])
def test_everyPacketCarriesIt(kind, sizes, stack):
    seen = Case(kind, stack).send(sizes)
    assert seen == [{BYTE}] * len(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_itCanChangeUnderWay(kind, stack):
    case = Case(kind, stack, dscp=0)
    for dscp in (0, 10, 63, 0):
        if dscp or case.transport._dscp:
            case.transport.setDSCP(dscp)
        seen = case.send([500] * 3)
        assert seen == [{dscp << 2}] * len(seen)


def test_theSocketSaysSo(stack):
    for kind in KINDS:
        case = Case(kind, stack)
        if kind not in IPV6_KINDS:
            assert case.option(socket.IPPROTO_IP, socket.IP_TOS) == BYTE
        if kind not in IPV4_KINDS:
            assert case.option(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == BYTE


def test_whatIsSetBeforeItListensHolds(stack):
    transport = UDPTransport(FakeReactor(), Counters(), "127.0.0.1")
    transport.setDSCP(DSCP)
    transport.startListening(Receiver())
    stack.callback(transport.stopListening)
    assert transport._socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == BYTE


class Stubborn:
    """A dual-stack socket whose system lets nobody set some options."""

    def __init__(self, real, *refused: int) -> None:
        self.real = real
        self.refused = refused
        self.family = socket.AF_INET6
        self.options: dict = {}

    def getsockopt(self, level, option):
        return 0  # of IPV6_V6ONLY

    def setsockopt(self, level, option, value):
        if option in self.refused:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        self.options[option] = value

    def __getattr__(self, name):
        return getattr(self.real, name)


def test_whereTheSystemRefusesItSaysSoOnceAndGoesOn(stack):
    case = Case("server to IPv4", stack, dscp=0)
    case.transport._socket = Stubborn(case.transport._socket, socket.IP_TOS, socket.IPV6_TCLASS)
    with capturedLogs() as logs:
        case.transport.setDSCP(DSCP)
        case.transport.setDSCP(10)
    line = "--dscp: this system does not let us mark datagrams (Operation not permitted): they go without"
    assert [formatEvent(entry) for entry in logs] == [line]
    seen = case.send([100])
    assert seen == [{0}] * len(seen)


@pytest.mark.parametrize("refused", [socket.IP_TOS, socket.IPV6_TCLASS])
def test_oneFamilyThatIsRefusedDoesNotCostTheOther(refused):
    sock = Stubborn(None, refused)
    with pytest.raises(OSError, match="not permitted"):
        markTraffic(sock, DSCP)
    assert list(sock.options.values()) == [BYTE]


# Linux, include/uapi: packets that this machine sends; packets of every protocol; socket options that
# the socket module does not name everywhere.
PACKET_OUTGOING = 4
ETH_P_ALL = 3
SO_ATTACH_FILTER = 26
IP_RECVTOS = 13
UDP, UDP_HEADER, IPV6_HEADER = 17, 8, 40
