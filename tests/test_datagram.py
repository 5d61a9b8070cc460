"""The UDP transport: every datagram crosses whole, in order and with its address, offload or not."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from udpends import Ends, FakeReactor, FaultySocket, Receiver, batchOf, payloads
from zope.interface.verify import verifyObject

from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramTransport
from kcpstack.layers.datagram import BACKLOG_BYTES, Shared, UDPTransport
from kcpstack.layers.offload import REFUSAL_LASTS


@pytest.fixture(params=[True, False], ids=["offload", "plain"])
def ends(request):
    ends = Ends(request.param)
    yield ends
    ends.close()


def test_providesItsInterface(ends):
    assert verifyObject(IDatagramTransport, ends.server)


@pytest.mark.parametrize(
    "sizes",
    [[1], [1400] * 64, [1400] * 130, [1400] * 9 + [7], [7, 1400, 1400, 9, 9, 1300, 1400], list(range(1, 200))],
    ids=["one", "a full send", "several sends", "short tail", "mixed", "all different"],
)
def test_allArriveInOrder(ends, sizes):
    batch = batchOf(sizes)
    ends.client.send(batch, None)
    for _ in range(4):
        ends.pump()
    assert payloads(ends.heard) == list(map(bytes, batch))
    address = ends.client.getHost()
    assert {source for _, source in ends.heard.datagrams} == {(address.host, address.port)}
    ends.server.send(batch, ends.heard.datagrams[0][1])
    for _ in range(4):
        ends.pump()
    assert payloads(ends.answered) == list(map(bytes, batch))


def test_theOrderOfTheBatchIsTheOrderOfSending(ends):
    batch = batchOf([100, 100, 100, 50])
    batch.starts.reverse()
    batch.ends.reverse()
    ends.client.send(batch, None)
    ends.pump()
    assert payloads(ends.heard) == list(map(bytes, batch))


def test_countsWhatIsSent(ends):
    ends.client.send(batchOf([100, 100, 30]), None)
    ends.pump()
    assert (ends.client._counters.OutPkts, ends.client._counters.OutBytes) == (3, 230)


def test_aTurnOfReadingIsBounded(ends):
    for _ in range(10):
        ends.client.send(batchOf([1400] * 60), None)
    ends.server.doRead()
    assert 0 < len(ends.heard.datagrams) < 600
    for _ in range(20):
        ends.server.doRead()
    assert len(ends.heard.datagrams) == 600


def test_tellsThatNobodyListens(ends):
    ends.server.stopListening()
    ends.client.send(batchOf([10]), None)
    ends.client.doRead()
    assert ends.answered.refusals >= 1


def test_anErrorThatTheReactorTakesForAnEndIsNotedAndTheSocketStays(ends):
    port = ends.server.getHost().port
    ends.server.stopListening()
    ends.client.send(batchOf([10]), None)
    ends.reactor.removeReader(ends.client)  # what epoll makes of EPOLLERR with nothing to read
    ends.client.connectionLost(Failure(ConnectionDone()))
    assert ends.answered.refusals == 1 and ends.client in ends.reactor.readers
    ends.server = UDPTransport(ends.reactor, Counters(), "127.0.0.1", port)
    ends.server.startListening(ends.heard)
    ends.client.send(batchOf([20]), None)
    ends.server.doRead()
    assert len(ends.heard.datagrams) == 1
    ends.client.connectionLost(Failure(ConnectionLost()))  # the reactor stops
    assert ends.client.fileno() == -1


def test_aClosedTransportIsSilent(ends):
    ends.client.stopListening()
    ends.client.send(batchOf([10]), None)
    assert ends.client not in ends.reactor.readers
    assert ends.client.fileno() == -1


def test_aPortInUseIsRefused(ends):
    other = UDPTransport(ends.reactor, Counters(), "127.0.0.1", ends.server.getHost().port)
    with pytest.raises(CannotListenError):
        other.startListening(Receiver())


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_ipv6Works():
    ends = Ends(True, "::1")
    ends.client.send(batchOf([100] * 5), None)
    ends.pump()
    assert len(ends.heard.datagrams) == 5
    ends.close()


def test_everyAddressMeansBothFamilies():
    reactor = FakeReactor()
    server, heard = UDPTransport(reactor, Counters()), Receiver()
    server.startListening(heard)
    families = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
    for host in families:
        client, answered = UDPTransport(reactor, Counters(), peer=(host, server.getHost().port)), Receiver()
        client.startListening(answered)
        client.send(batchOf([100, 100]), None)
        server.doRead()
        server.send(batchOf([50]), heard.datagrams[-1][1])
        client.doRead()
        assert len(answered.datagrams) == 1
        client.stopListening()
    assert len(heard.datagrams) == 2 * len(families)
    server.stopListening()


def test_aReceiverThatRaisesDoesNotCostTheSocket(ends):
    def fail(batch):
        raise ZeroDivisionError

    receive, ends.heard.datagramsReceived = ends.heard.datagramsReceived, fail
    ends.client.send(batchOf([10]), None)
    ends.server.doRead()
    ends.heard.datagramsReceived = receive
    ends.client.send(batchOf([20]), None)
    ends.server.doRead()
    assert [len(datagram) for datagram, _ in ends.heard.datagrams] == [20]


def refuse(transport: UDPTransport, *errors) -> FaultySocket:
    """The next sends of ``transport`` fail with these; a client's each try twice (see _trySending)."""
    transport._use(FaultySocket(transport._socket, errors))
    return transport._socket


def no(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Peers:
    """A server, and clients at hosts of their own."""

    def __init__(self, count: int) -> None:
        self.reactor = FakeReactor()
        self.server = UDPTransport(self.reactor, Counters(), "127.0.0.1", 0, buffers=1 << 22)
        self.server.startListening(Receiver())
        self.heard = [Receiver() for _ in range(count)]
        self.clients = [UDPTransport(self.reactor, Counters(), f"127.0.0.{i + 1}") for i in range(count)]
        for client, heard in zip(self.clients, self.heard):
            client.startListening(heard)

    def send(self, number: int, batch) -> None:
        host = self.clients[number].getHost()
        self.server.send(batch, (host.host, host.port))

    def close(self) -> None:
        for transport in (self.server, *self.clients):
            transport.stopListening()


@pytest.fixture
def peers():
    peers = Peers(2)
    yield peers
    peers.close()


RUN = batchOf([500] * 20)
WHOLE, SINGLY = [("GSO", 10_000)], [("one", 500)] * 20


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.EINVAL], ids=errno.errorcode.get)
def test_aPathThatTakesNoRunsGetsItsDatagramsOneByOneAndOthersKeepTheirRuns(peers, number):
    sock = refuse(peers.server, no(number))
    for _ in range(2):
        sock.sent.clear()
        peers.send(0, RUN)
        peers.send(1, RUN)
        assert sock.sent == SINGLY + WHOLE
    peers.reactor.readAll()
    for heard in peers.heard:
        assert payloads(heard) == list(map(bytes, RUN)) * 2
    assert peers.server._counters.OutErrs == 0


def test_aPathIsAskedAgainAfterAWhile(peers):
    sock = refuse(peers.server, no(errno.EMSGSIZE))
    peers.send(0, RUN)
    peers.reactor.advance(REFUSAL_LASTS)
    sock.sent.clear()
    peers.send(0, RUN)
    assert sock.sent == WHOLE


def test_aDeviceThatRefusesRunsIsAskedNoMore(peers):
    sock = refuse(peers.server, no(errno.EIO))
    peers.send(0, RUN)
    peers.reactor.advance(REFUSAL_LASTS)
    peers.send(1, RUN)
    assert sock.sent == SINGLY * 2


@pytest.mark.parametrize("number", [errno.EIO, errno.EMSGSIZE, errno.ENOBUFS], ids=errno.errorcode.get)
def test_aSendThatFailedKeepsNoHoldOnTheBatch(peers, number):
    batch = batchOf([500] * 20)
    refuse(peers.server, no(number))
    with capturedLogs():  # which hold on to what they were given
        peers.send(0, batch)
        batch.allocate(1400)  # raises BufferError where somebody still looks at the buffer


def test_aRefusedRunOfAConnectedSocketIsNoErrorOfTheNetwork():
    ends = Ends(True)
    sock = refuse(ends.client, *[no(errno.EMSGSIZE)] * 2)
    with capturedLogs() as logs:
        ends.client.send(RUN, None)
    ends.pump()
    assert sock.sent == SINGLY and payloads(ends.heard) == list(map(bytes, RUN))
    assert not [entry for entry in logs if entry["log_level"] is LogLevel.warn]
    ends.close()


def test_aRunThatWaitedIsSentOneByOneWhereThePathRefusesIt(peers):
    sock = refuse(peers.server, BlockingIOError(), no(errno.EMSGSIZE), None, None, BlockingIOError())
    peers.send(0, RUN)
    peers.send(0, batchOf([300] * 3))
    peers.server.doWrite()  # is refused the run, sends two of it, and finds the kernel full again
    assert sock.sent == SINGLY[:2]
    peers.server.doWrite()
    assert peers.server not in peers.reactor.writers
    peers.reactor.readAll()
    assert payloads(peers.heard[0]) == list(map(bytes, RUN)) + list(map(bytes, batchOf([300] * 3)))


def test_aFullKernelIsWaitedForAndTheOrderKept(ends):
    refuse(ends.client, BlockingIOError())
    first, second = batchOf([500] * 20), batchOf([300] * 5)
    ends.client.send(first, None)
    ends.client.send(second, None)
    expected = list(map(bytes, first)) + list(map(bytes, second))
    first.buffer[:] = bytes(len(first.buffer))  # the caller may use its buffer again
    assert ends.client in ends.reactor.writers
    ends.client.doWrite()
    assert ends.client not in ends.reactor.writers
    ends.pump()
    assert payloads(ends.heard) == expected


def test_whatWaitsIsBounded(ends):
    refuse(ends.client, *[BlockingIOError()] * 10_000)
    for _ in range(100):
        ends.client.send(batchOf([1400] * 60), None)
    assert ends.client._backlogBytes <= BACKLOG_BYTES
    kept = sum(-(-len(data) // size) for data, size, _ in ends.client._backlog)
    assert kept + ends.client._counters.OutErrs == 6000


def test_aSendThatFailsIsCountedAndToldAndTheNextOneGoesOut(ends):
    refuse(ends.client, *[no(errno.ENOBUFS)] * 2)
    with capturedLogs() as logs:
        ends.client.send(batchOf([100]), None)
        ends.client.send(batchOf([70]), None)
    ends.pump()
    assert payloads(ends.heard) == list(map(bytes, batchOf([70])))
    assert ends.client._counters.OutErrs == 1
    peer = f"127.0.0.1:{ends.server.getHost().port}"
    assert [formatEvent(entry) for entry in logs] == [
        f"UDP to {peer}: No buffer space available: the device's queue is full; harmless, what is lost is sent again"
    ]


def test_anErrorOfAnEarlierDatagramCostsTheNextOneNothing(ends):
    refuse(ends.client, no(errno.EHOSTUNREACH))
    with capturedLogs() as logs:
        ends.client.send(batchOf([100]), None)
    ends.pump()
    assert payloads(ends.heard) == list(map(bytes, batchOf([100])))
    assert ends.client._counters.OutErrs == 0 and "there is no route" in formatEvent(logs[0])


def test_aReceiverMayCloseTheSocketWhenItIsTold(ends):
    ends.answered.connectionRefused = ends.client.stopListening
    refuse(ends.client, no(errno.ECONNREFUSED))
    ends.client.send(batchOf([100, 30, 200]), None)
    assert ends.client.fileno() == -1
    ends.client.doWrite()


def test_socketsThatShareHaveOneReadBuffer():
    reactor = FakeReactor()
    shared, heard = Shared(reactor), Receiver()
    servers = [UDPTransport(reactor, Counters(), "127.0.0.1", shared=shared) for _ in range(2)]
    for server in servers:
        server.startListening(heard)
        client = UDPTransport(reactor, Counters(), peer=("127.0.0.1", server.getHost().port), shared=shared)
        client.startListening(Receiver())
        client.send(batchOf([100, 100]), None)
    assert servers[0]._readBuffer is servers[1]._readBuffer
    reactor.readAll()
    assert payloads(heard) == list(map(bytes, batchOf([100, 100]))) * 2
    for transport in list(reactor.readers):
        transport.stopListening()
