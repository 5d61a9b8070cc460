"""The UDP transport: every datagram crosses whole, in order and with its address, offload or not."""

from __future__ import annotations

import errno
import socket

import pytest
from twisted.internet.error import CannotListenError, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from kcpstack.batch import Batch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramTransport
from kcpstack.layers.datagram import BACKLOG_BYTES, GSO_BYTES, GSO_SEGMENTS, UDPTransport, _runEnd


class FakeReactor:
    """Knows who wants to read and write; the test calls them."""

    def __init__(self) -> None:
        self.readers: set = set()
        self.writers: set = set()

    def addReader(self, reader):
        self.readers.add(reader)

    def removeReader(self, reader):
        self.readers.discard(reader)

    def addWriter(self, writer):
        self.writers.add(writer)

    def removeWriter(self, writer):
        self.writers.discard(writer)


class Receiver:
    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, object]] = []
        self.batches = 0
        self.refusals = 0

    def datagramsReceived(self, batch: Batch) -> None:
        self.batches += 1
        assert len(batch.addresses) == len(batch)
        self.datagrams.extend(zip(map(bytes, batch), batch.addresses))

    def connectionRefused(self) -> None:
        self.refusals += 1


class Ends:
    """A listening transport and one connected to it."""

    def __init__(self, offload: bool, host: str = "127.0.0.1") -> None:
        self.reactor = FakeReactor()
        self.server = UDPTransport(self.reactor, Counters(), host, 0, buffers=1 << 22, offload=offload)
        self.heard = Receiver()
        self.server.startListening(self.heard)
        peer = (host, self.server.getHost().port)
        self.client = UDPTransport(self.reactor, Counters(), peer=peer, buffers=1 << 22, offload=offload)
        self.answered = Receiver()
        self.client.startListening(self.answered)

    def pump(self) -> None:
        for transport in (self.client, self.server):
            transport.doRead()

    def close(self) -> None:
        self.client.stopListening()
        self.server.stopListening()


@pytest.fixture(params=[True, False], ids=["offload", "plain"])
def ends(request):
    ends = Ends(request.param)
    yield ends
    ends.close()


def batchOf(sizes: list[int]) -> Batch:
    batch = outboundBatch(1500, 28)
    for index, size in enumerate(sizes):
        batch.append(bytes((index + i) & 255 for i in range(size)))
    return batch


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
    assert [datagram for datagram, _ in ends.heard.datagrams] == list(map(bytes, batch))
    address = ends.client.getHost()
    assert {source for _, source in ends.heard.datagrams} == {(address.host, address.port)}
    ends.server.send(batch, ends.heard.datagrams[0][1])
    for _ in range(4):
        ends.pump()
    assert [datagram for datagram, _ in ends.answered.datagrams] == list(map(bytes, batch))


def test_theOrderOfTheBatchIsTheOrderOfSending(ends):
    batch = batchOf([100, 100, 100, 50])
    batch.starts.reverse()
    batch.ends.reverse()
    ends.client.send(batch, None)
    ends.pump()
    assert [datagram for datagram, _ in ends.heard.datagrams] == list(map(bytes, batch))


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


class FaultySocket:
    """A socket whose sendmsg answers from a list of errors, then works."""

    def __init__(self, real, errors) -> None:
        self.real = real
        self.errors = list(errors)

    def sendmsg(self, *arguments):
        if self.errors:
            error = self.errors.pop(0)
            if error is not None:
                raise error
        return self.real.sendmsg(*arguments)

    def __getattr__(self, name):
        return getattr(self.real, name)


def refuse(ends: Ends, *errors) -> None:
    ends.client._socket = FaultySocket(ends.client._socket, errors)


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
def test_aRefusedSegmentationIsGivenUpForGoodAndNothingIsLost(number):
    ends = Ends(True)
    assert ends.client.canSegment
    refuse(ends, OSError(number, "no"))
    batch = batchOf([500] * 20)
    ends.client.send(batch, None)
    assert not ends.client.canSegment
    ends.client.send(batch, None)
    ends.pump()
    assert [datagram for datagram, _ in ends.heard.datagrams] == list(map(bytes, batch)) * 2
    ends.close()


def test_aFullKernelIsWaitedForAndTheOrderKept(ends):
    refuse(ends, BlockingIOError())
    first, second = batchOf([500] * 20), batchOf([300] * 5)
    ends.client.send(first, None)
    ends.client.send(second, None)
    expected = list(map(bytes, first)) + list(map(bytes, second))
    first.buffer[:] = bytes(len(first.buffer))  # the caller may use its buffer again
    assert ends.client in ends.reactor.writers
    ends.client.doWrite()
    assert ends.client not in ends.reactor.writers
    ends.pump()
    assert [datagram for datagram, _ in ends.heard.datagrams] == expected


def test_whatWaitsIsBounded(ends):
    refuse(ends, *[BlockingIOError()] * 10_000)
    for _ in range(100):
        ends.client.send(batchOf([1400] * 60), None)
    assert ends.client._backlogBytes <= BACKLOG_BYTES
    kept = sum(-(-len(data) // size) for data, size, _ in ends.client._backlog)
    assert kept + ends.client._counters.OutErrs == 6000


def test_noBuffersIsALossLikeAnyOther(ends):
    refuse(ends, OSError(errno.ENOBUFS, "no buffers"))
    ends.client.send(batchOf([100] * 3 + [50]), None)
    ends.client.send(batchOf([70]), None)
    ends.pump()
    assert ends.heard.datagrams[-1][0] == bytes(batchOf([70]).buffer[28:98])
    assert ends.client._counters.OutErrs >= 1


def test_runsKeepTheKernelsBounds():
    starts = [i * 1400 for i in range(200)]
    ends = [start + 1400 for start in starts]
    index = 0
    while index < 200:
        after = _runEnd(starts, ends, index)
        assert index < after <= index + GSO_SEGMENTS and (after - index) * 1400 <= GSO_BYTES
        index = after
