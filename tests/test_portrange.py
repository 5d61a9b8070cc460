"""A range of UDP ports: whichever port a client calls, and if it changes, the server is the same."""

from __future__ import annotations

import errno
import os
import random
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from udpends import FakeReactor, Receiver, batchOf, payloads
from zope.interface.verify import verifyObject

from kcpstack.addresses import shown
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramTransport
from kcpstack.layers.datagram import UDPTransport
from kcpstack.layers.portrange import UDPRange
from kcpstack.options import ClientSettings, ServerSettings
from kcpstack.server import Server
from kcpstack.stack import Conversation, Port, Surroundings, buildMux

HOST = "127.0.0.1"
BELOW = range(20_000, 32_000, 50)  # where ranges are tried: below the ports that the system deals out


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def reactor():
    return FakeReactor()


def candidates(reactor: FakeReactor, count: int, **options) -> Iterator[UDPRange]:
    for first in BELOW:
        ports = range(first, first + count)
        yield UDPRange(reactor, Counters(), options.get("host", HOST), ports, dscp=options.get("dscp", 0))


def listening(stack: ExitStack, reactor: FakeReactor, receiver, count: int = 3, **options) -> UDPRange:
    """A range of ``count`` ports that listens.  Other processes take ports as they please: so where one is
    taken, the next range is tried."""
    for candidate in candidates(reactor, count, **options):
        try:
            candidate.startListening(receiver)
        except CannotListenError as error:
            assert error.socketError.errno == errno.EADDRINUSE
        else:
            stack.callback(candidate.stopListening)
            return candidate
    raise AssertionError(f"no {count} free ports in a row")


def plain(stack: ExitStack, host: str = HOST) -> socket.socket:
    """A client's socket, as the system has it."""
    sock = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM))
    sock.settimeout(10)
    sock.bind((host, 0))
    return sock


def test_providesItsInterface(reactor):
    assert verifyObject(IDatagramTransport, UDPRange(reactor, Counters(), HOST, range(3000, 3003)))


@pytest.mark.option("listen")
def test_itSaysWhatItListensOn(stack, reactor):
    ports = listening(stack, reactor, Receiver())
    first = ports.ports()[0]
    assert ports.ports() == [first, first + 1, first + 2]
    assert (ports.getHost().host, ports.getHost().port) == (HOST, first)


HOSTS = [(HOST, HOST)]
if socket.has_ipv6:
    HOSTS.append(("::1", "::1"))
if socket.has_dualstack_ipv6():
    HOSTS += [("", HOST), ("", "::1")]


@pytest.mark.parametrize(("host", "client"), HOSTS)
def test_anAddressNamesThePortThatWasCalledAndAnswersLeaveFromThere(host, client, stack, reactor):
    heard = Receiver()
    ports = listening(stack, reactor, heard, host=host)
    sock = plain(stack, client)
    for port in ports.ports():
        sock.sendto(b"%d" % port, (client, port))
    reactor.readAll()
    assert sorted(payloads(heard)) == [b"%d" % port for port in ports.ports()]
    for payload, address in heard.datagrams:
        assert address[-1] == int(payload)
        assert shown(address) == shown(sock.getsockname())
        ports.send(batchOf([100, 100, 7]), address)
        for length in (100, 100, 7):
            data, source = sock.recvfrom(2000)
            assert (len(data), source[:2]) == (length, (client, int(payload)))


def test_aBatchFromManyKeepsApartWhoSentWhat(stack, reactor):
    heard = Receiver()
    ports = listening(stack, reactor, heard)
    port = ports.ports()[1]
    clients = [plain(stack) for _ in range(3)]
    for round in range(5):
        for client in clients:
            client.sendto(b"%d of %d" % (round, client.getsockname()[1]), (HOST, port))
    reactor.readAll()
    assert heard.batches == 1
    assert heard.datagrams == [
        (b"%d of %d" % (round, client.getsockname()[1]), (*client.getsockname(), port))
        for round in range(5)
        for client in clients
    ]


@pytest.mark.parametrize("taken", [0, 2])
def test_aPortThatCannotBeHadIsNamedAndNoneStaysOpen(taken, stack, reactor):
    free = listening(stack, reactor, Receiver())
    numbers = free.ports()
    free.stopListening()
    stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((HOST, numbers[taken]))
    ports = UDPRange(reactor, Counters(), HOST, numbers)
    with pytest.raises(CannotListenError) as raised:
        ports.startListening(Receiver())
    assert raised.value.port == numbers[taken] and f"{HOST}:{numbers[taken]}" in str(raised.value)
    assert reactor.readers == set()
    assert descriptorsOf(ports) == {-1}


def descriptorsOf(ports: UDPRange) -> set[int]:
    return {transport.fileno() for transport in ports._sockets.values()}


@contextmanager
def descriptorLimit(limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_aThousandPortsWorkAndShareOneReadBuffer(stack, reactor):
    heard = Receiver()
    stack.enter_context(descriptorLimit(4096))
    ports = listening(stack, reactor, heard, 1000)
    client = plain(stack)
    called = ports.ports()[::97]
    for port in called:
        client.sendto(b"hello", (HOST, port))
    reactor.readAll()
    assert sorted(address[-1] for _, address in heard.datagrams) == called
    assert len({id(transport._readBuffer) for transport in ports._sockets.values()}) == 1


def test_morePortsThanDescriptorsIsSaidInThoseWords(reactor):
    used = max(map(int, os.listdir("/proc/self/fd")))
    for ports in candidates(reactor, 1000):
        with descriptorLimit(used + 20), pytest.raises(CannotListenError) as raised:
            ports.startListening(Receiver())
        assert descriptorsOf(ports) == {-1} and reactor.readers == set()
        if raised.value.socketError.errno != errno.EADDRINUSE:
            break
    assert raised.value.socketError.errno == errno.EMFILE
    assert "of 1000 ports could be opened; raise the limit (ulimit -n)" in str(raised.value)


@pytest.mark.option("dscp")
def test_allPortsMarkWhatTheySendAndARefusalIsSaidOnce(stack, reactor, monkeypatch):
    ports = listening(stack, reactor, Receiver(), dscp=46)
    assert classesOf(ports) == {46 << 2}
    ports.setDSCP(10)
    assert classesOf(ports) == {10 << 2}

    def refuse(sock, dscp):
        raise PermissionError(errno.EPERM, "not here")

    monkeypatch.setattr("kcpstack.layers.datagram.markTraffic", refuse)
    with capturedLogs() as logs:
        ports.setDSCP(20)
    assert len(logs) == 1 and "not here" in formatEvent(logs[0])


def classesOf(ports: UDPRange) -> set[int]:
    sockets = [transport._socket for transport in ports._sockets.values()]
    return {sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) for sock in sockets}


# ------------------------------------------------------------ a server on it


class Recorder(Protocol):
    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Caller:
    """A client's end of one session, to one port of the range: ``say`` and look at ``received``."""

    def __init__(self, stack: ExitStack, reactor: FakeReactor, number: int, conv: int) -> None:
        self._stack = stack
        self._reactor = reactor
        around = Surroundings(reactor, Counters(), random.Random(conv).randbytes)
        self._port = Port(self._transport(number), ClientSettings(), around)
        self._port.open()
        stack.callback(lambda: self._port.transport.stopListening())
        self._conversation = Conversation(self._port, conv, None, False, lambda over: None, (HOST, number))
        self._port.received = self._conversation.datagramsReceived
        self._stream = Recorder()
        buildMux(self._conversation, ClientSettings(), around).openStream(self._stream)
        stack.callback(self._conversation.session.abortConnection)

    def _transport(self, number: int) -> UDPTransport:
        return UDPTransport(self._reactor, Counters(), peer=(HOST, number))

    def call(self, number: int) -> None:
        """Go on at another port, from a socket that the server has not seen."""
        self._port.transport.stopListening()
        self._port.transport = self._transport(number)
        self._port.transport.startListening(self._port)

    def ask(self, question: bytes) -> bytes:
        """What the server answers."""
        self._stream.received = b""
        self._stream.transport.write(question)
        for _ in range(500):
            self._reactor.readAll()
            if len(self._stream.received) >= len(question):
                break
            self._reactor.advance(0.01)
        return self._stream.received


def served(stack: ExitStack, reactor: FakeReactor) -> tuple[Server, list[int]]:
    for transport in candidates(reactor, 3):
        around = Surroundings(reactor, Counters(), random.Random(1).randbytes)
        server = Server(ServerSettings(), around, transport, Factory.forProtocol(Echo))
        try:
            server.open()
        except CannotListenError:
            continue
        stack.callback(server.close)
        return server, transport.ports()
    raise AssertionError("no free ports")


QUESTION = bytes(range(256)) * 100


@pytest.mark.option("listen")
def test_aSessionThatArrivesAtAnyPortWorks(stack, reactor):
    server, numbers = served(stack, reactor)
    callers = [Caller(stack, reactor, number, 1 << 31 | conv) for conv, number in enumerate(numbers * 2)]
    for caller in callers:
        assert caller.ask(QUESTION) == QUESTION
    assert sorted(conversation.address[-1] for conversation in server.conversations()) == sorted(numbers * 2)


@pytest.mark.option("listen")
def test_aSessionThatProvesItselfMovesFromPortToPort(stack, reactor):
    server, numbers = served(stack, reactor)
    caller = Caller(stack, reactor, numbers[0], 77)
    assert caller.ask(QUESTION) == QUESTION
    (conversation,) = server.conversations()
    for number in (*numbers[1:], numbers[0]):
        caller.call(number)
        assert caller.ask(QUESTION) == QUESTION
        assert server.conversations() == [conversation] and conversation.address[-1] == number
