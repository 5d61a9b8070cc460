"""The conformance suite of the datagram transport seam, for any IDatagramTransportFactory, or pair of transports.

Mix it in and name your factory; pytest needs nothing else, unittest and trial want TestCase too::

    class TestHopping(DatagramTransportConformance):
        factory = hopping
        portCount = 4

That runs on real sockets on loopback, and on a SocketClock.  A transport that needs none of them (on a simulated
network, say) is tested by overriding ``newServer``, ``newClient`` and ``passTime`` instead.

The bytes are the same in every run.  The path between the two ends must lose nothing by itself.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from zope.interface.verify import verifyObject

from kcpstack.batch import Batch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.interfaces import IDatagramTransport, IDatagramTransportFactory
from kcpstack.testing.checks import check, checkFactory, repeatableBytes, repeatableSource
from kcpstack.testing.loopback import LOCAL, DatagramRecorder, SocketClock, freePorts
from kcpstack.transports import TransportContext

__all__ = ["DatagramRecorder", "DatagramTransportConformance", "SocketClock", "freePorts"]


class DatagramTransportConformance:
    """What the stack relies on, one test for each promise of IDatagramTransport."""

    factory: Any = None
    """The IDatagramTransportFactory to test; None where the methods below are overridden."""

    portCount: int = 1
    """How many ports a server is given (--listen HOST:FIRST-LAST)."""

    longest: int = 1472
    """The longest datagram that must pass, with its overhead: what Ethernet leaves of a UDP packet over IPv4."""

    # ---------------------------------------------------------------- to be overridden without a factory

    def newServer(self) -> Any:
        """Return a transport as a server has it, which does not listen yet."""
        return self.factory.listen(self.context, LOCAL, self._ports())

    def newClient(self, server: Any) -> Any:
        """Return a transport with one fixed peer, the ``server``, which listens already.  It does not listen yet."""
        ports = self._ports()
        return self.factory.dial(self.context, LOCAL, ports[0], ports)

    def passTime(self) -> None:
        """Let what is under way arrive: one turn."""
        self.reactor.turn()

    @property
    def counters(self) -> Counters:
        """What the transports count in."""
        counters: Counters = self.context.counters
        return counters

    # ---------------------------------------------------------------- what is declared

    def test_factoryIsAsDeclared(self) -> None:
        if self.factory is not None:
            checkFactory(IDatagramTransportFactory, self.factory)

    def test_transportsProvideTheirInterface(self) -> None:
        with _Ends(self) as ends:
            verifyObject(IDatagramTransport, ends.server)
            verifyObject(IDatagramTransport, ends.client)

    def test_overheadIsTheSameAlways(self) -> None:
        with _Ends(self) as ends:
            overhead = ends.client.overhead
            check(type(overhead) is int and overhead >= 0, f"overhead is an int from 0: {overhead!r}")
            check(ends.server.overhead == overhead, "server and client have another overhead")
            if self.factory is not None:
                check(self.factory.overhead == overhead, "factory and transports have another overhead")
            ends.sendUp([b"datagram"])
            check(ends.client.overhead == overhead, "overhead changed with use")

    def test_theLocalAddressIsKnown(self) -> None:
        with _Ends(self) as ends:
            for transport in (ends.server, ends.client):
                host = transport.getHost()
                check(IAddress.providedBy(host), f"getHost returns an IAddress, not {host!r}")
                check(isinstance(host.host, str) and isinstance(host.port, int), f"{host!r} has no host and port")

    # ---------------------------------------------------------------- datagrams

    def test_oneDatagramArrives(self) -> None:
        self._arrive([b"datagram"])

    def test_datagramsOfEveryLengthArriveWhole(self) -> None:
        self._arrive([repeatableBytes(length, length) for length in range(1, 130)])

    def test_theLongestDatagramArrives(self) -> None:
        with _Ends(self) as ends:
            datagram = repeatableBytes(1, self.longest - ends.client.overhead)
            ends.sendUp([datagram])
            check(ends.atServer.datagrams == [datagram], f"a datagram of {len(datagram)} bytes did not arrive whole")

    def test_equalLengthsAndAShorterTailArriveInOrder(self) -> None:
        self._arrive([repeatableBytes(number, 1200) for number in range(20)] + [b"tail"])

    def test_mixedLengthsArriveInOrder(self) -> None:
        lengths = (7, 1200, 1200, 9, 9, 1100, 1200, 1, 1200, 1200, 1200, 3)
        self._arrive([repeatableBytes(number, length) for number, length in enumerate(lengths)])

    def test_equalDatagramsAllArrive(self) -> None:
        self._arrive([b"the same"] * 40)

    def test_anyBytesArrive(self) -> None:
        self._arrive([bytes(40), b"\xff" * 40, bytes(range(256)), b"\0", b"\n\r\0"])

    def test_aLargeBatchArrives(self) -> None:
        self._arrive([repeatableBytes(number, 1000) for number in range(150)])

    def test_batchAfterBatchArrivesInOrder(self) -> None:
        with _Ends(self) as ends:
            sent = []
            for number in range(12):
                datagrams = [repeatableBytes((number, i), 10 + number) for i in range(number)]
                sent += datagrams
                ends.send(ends.client, datagrams, None)
            ends.settle()
            check(ends.atServer.datagrams == sent, "batches sent in one turn arrive otherwise")

    def test_theOrderIsTheBatchsAndNotTheBuffers(self) -> None:
        with _Ends(self) as ends:
            batch = ends.batch([repeatableBytes(number, 100 + number) for number in range(5)])
            batch.starts.reverse()
            batch.ends.reverse()
            sent = list(map(bytes, batch))
            ends.client.send(batch, None)
            ends.settle()
            check(ends.atServer.datagrams == sent, "datagrams arrive in the order of the buffer")

    def test_anEmptyBatchIsNothing(self) -> None:
        with _Ends(self) as ends:
            ends.send(ends.client, [], None)
            ends.settle()
            check(not ends.atServer.batches, "something came of an empty batch")

    def test_noBatchIsEmpty(self) -> None:
        with _Ends(self) as ends:
            for number in range(5):
                ends.sendUp([b"x" * (number + 1)] * number)
                ends.settle()
            check(0 not in ends.atServer.batches, "an empty batch was delivered")

    def test_deliveryIsNeverInsideSend(self) -> None:
        with _Ends(self) as ends:
            ends.send(ends.client, [b"datagram"], None)
            check(not ends.atServer.batches, "a datagram was delivered before send had returned")

    # ---------------------------------------------------------------- addresses

    def test_addressesBeginWithHostAndPortAndAreHashable(self) -> None:
        with _Ends(self) as ends:
            ends.sendUp([b"one", b"two"])
            for _, address in ends.atServer.arrived:
                check(isinstance(address, tuple) and len(address) >= 2, f"an address is a tuple: {address!r}")
                check(isinstance(address[0], str) and isinstance(address[1], int), f"host and port first: {address!r}")
                hash(address)

    def test_onePeerHasOneAddress(self) -> None:
        with _Ends(self) as ends:
            for number in range(5):
                ends.sendUp([b"%d" % number] * 3)
            addresses = {address for _, address in ends.atServer.arrived}
            check(len(addresses) >= 1, "nothing arrived")
            if self.portCount == 1:
                check(len(addresses) == 1, f"one peer has the addresses {addresses}")

    def test_anAddressIsAnswered(self) -> None:
        with _Ends(self) as ends:
            ends.sendUp([b"question"])
            answers = [repeatableBytes(number, 50 * number + 1) for number in range(20)]
            ends.sendDown(answers, ends.atServer.arrived[0][1])
            check(ends.atClient.datagrams == answers, "what was sent to the address shown did not reach the peer")

    def test_anAddressIsStillAnsweredLater(self) -> None:
        with _Ends(self) as ends:
            ends.sendUp([b"first"])
            address = ends.atServer.arrived[0][1]
            for _ in range(5):
                ends.sendUp([b"more"])
            ends.sendDown([b"late answer"], address)
            check(ends.atClient.datagrams == [b"late answer"], "an address shown earlier is not answered any more")

    def test_peersAreToldApart(self) -> None:
        with _Ends(self) as ends:
            other, atOther = ends.anotherClient()
            ends.sendUp([b"from one"])
            ends.send(other, [b"from another"], None)
            ends.settle()
            byDatagram = dict(ends.atServer.arrived)
            check(set(byDatagram) == {b"from one", b"from another"}, f"arrived: {set(byDatagram)}")
            check(byDatagram[b"from one"] != byDatagram[b"from another"], "two peers have one address")
            for datagram, address in byDatagram.items():
                ends.sendDown([b"answer to " + datagram], address)
            check(ends.atClient.datagrams == [b"answer to from one"], f"the one got {ends.atClient.datagrams}")
            check(atOther.datagrams == [b"answer to from another"], f"the other got {atOther.datagrams}")

    # ---------------------------------------------------------------- who owns the buffer

    def test_theBufferIsTheSendersOnReturn(self) -> None:
        with _Ends(self) as ends:
            datagrams = [repeatableBytes(number, 500) for number in range(30)]
            batch = ends.batch(datagrams)
            ends.client.send(batch, None)
            batch.buffer[:] = bytes(len(batch.buffer))
            batch.buffer.extend(b"raises BufferError while a view is alive")
            batch.clear()
            ends.settle()
            check(ends.atServer.datagrams == datagrams, "datagrams changed when the sender used its buffer again")

    def test_nothingInFrontOfTheHeadroomIsTouched(self) -> None:
        with _Ends(self) as ends:
            overhead = ends.client.overhead
            guard = 16
            batch = outboundBatch(200, overhead + guard)
            for number in range(4):
                batch.append(repeatableBytes(number, 100))
            for start in batch.starts:
                batch.buffer[start - overhead - guard : start - overhead] = b"#" * guard
            starts = list(batch.starts)
            ends.client.send(batch, None)
            for start in starts:
                before = bytes(batch.buffer[start - overhead - guard : start - overhead])
                check(before == b"#" * guard, "send wrote in front of the room that its overhead has")

    def test_aReceiverMayChangeTheBatch(self) -> None:
        with _Ends(self) as ends:
            sent = [[b"%d" % (10 * number + i) for i in range(4)] for number in range(6)]
            for datagrams in sent:
                ends.sendUp(datagrams)
            arrived = ends.atServer.datagrams
            check(arrived == [one for each in sent for one in each], "what a receiver did to its batch showed in the next")

    def test_aReceiverMayAnswerAtOnce(self) -> None:
        with _Ends(self) as ends:
            ends.atServer.datagramsReceived = ends.answering()  # type: ignore[method-assign]  # of this one object
            ends.sendUp([b"one", b"two", b"three"])
            ends.settle()
            check(ends.atClient.datagrams == [b"one", b"two", b"three"], f"answered: {ends.atClient.datagrams}")

    # ---------------------------------------------------------------- before, after, and too much

    def test_sendingBeforeListeningIsLost(self) -> None:
        with _Ends(self) as ends:
            ends.sendUp([b"hello"])
            address = ends.atServer.arrived[0][1]
            ends.stop(ends.server)
            ends.send(self.newServer(), [b"early"], address)
            ends.settle()
            check(not ends.atClient.arrived, "a transport that was never opened sent something")

    def test_aClientThatDoesNotListenSendsNothing(self) -> None:
        with _Ends(self) as ends:
            silent = self.newClient(ends.server)
            ends.send(silent, [b"early"], None)
            ends.settle()
            check(not ends.atServer.arrived, "a transport that was never opened sent something")

    def test_nothingIsDeliveredAfterStopListening(self) -> None:
        with _Ends(self) as ends:
            ends.sendUp([b"in time"])
            ends.send(ends.client, [b"too late"] * 5, None)
            stopped = ends.stop(ends.server)
            ends.send(ends.client, [b"much too late"] * 5, None)
            ends.settle()
            check(stopped == [None] or len(stopped) == 1, "stopListening's Deferred did not fire")
            check(ends.atServer.datagrams == [b"in time"], f"after stopListening came {ends.atServer.datagrams[1:]}")

    def test_sendingAfterStopListeningIsLost(self) -> None:
        with _Ends(self) as ends:
            ends.sendUp([b"in time"])
            address = ends.atServer.arrived[0][1]
            ends.stop(ends.client)
            ends.send(ends.client, [b"too late"], None)
            ends.settle()
            check(ends.atServer.datagrams == [b"in time"], "a closed transport sent something")
            ends.stop(ends.server)
            ends.send(ends.server, [b"too late"], address)
            ends.settle()

    def test_aReceiverMayCloseWhileItReceives(self) -> None:
        with _Ends(self) as ends:
            receive = ends.atServer.datagramsReceived

            def close(batch: Batch) -> None:
                receive(batch)
                ends.stop(ends.server)

            ends.atServer.datagramsReceived = close  # type: ignore[method-assign]  # as above
            ends.send(ends.client, [b"one"], None)
            ends.settle()
            ends.send(ends.client, [b"two"], None)
            ends.settle()
            check(ends.atServer.datagrams == [b"one"], f"after a close by the receiver: {ends.atServer.datagrams}")

    def test_twoServersDoNotHearEachOther(self) -> None:
        with _Ends(self) as ends:
            elsewhere = type(self)()
            with _Ends(elsewhere) as others:
                ends.sendUp([b"here"])
                others.sendUp([b"there"])
                check(ends.atServer.datagrams == [b"here"], f"one server heard {ends.atServer.datagrams}")
                check(others.atServer.datagrams == [b"there"], f"the other heard {others.atServer.datagrams}")

    def test_whatIsTooLongIsCountedAndTheOthersArrive(self) -> None:
        with _Ends(self) as ends:
            batch = outboundBatch(TOO_LONG, ends.client.overhead)
            for datagram in (b"before", bytes(TOO_LONG - 100), b"after"):
                batch.append(datagram)
            ends.client.send(batch, None)
            ends.settle()
            check(ends.atServer.datagrams == [b"before", b"after"], f"{len(ends.atServer.datagrams)} arrived")
            check(self.counters.OutErrs >= 1, "a datagram that cannot be sent was not counted in OutErrs")

    def test_aPeerThatIsGoneDoesNoHarm(self) -> None:
        with _Ends(self) as ends:
            ends.sendUp([b"hello"])
            address = ends.atServer.arrived[0][1]
            ends.stop(ends.client)
            for _ in range(5):
                ends.sendDown([b"are you there?"] * 3, address)
            other, _ = ends.anotherClient()
            ends.send(other, [b"I am"], None)
            ends.settle()
            check(ends.atServer.datagrams[-1] == b"I am", "after answers to a peer that is gone nobody else is heard")

    def test_strangersBytesNeverRaise(self) -> None:
        with _Ends(self) as ends:
            for length in (0, 1, 2, 3, 4, 8, 16, 24, 100, 1400):
                ends.stranger(repeatableBytes(length, length))
                ends.stranger(bytes(length))
            ends.settle()
            before = len(ends.atServer.arrived)
            ends.sendUp([b"still here"])
            check(ends.atServer.datagrams[before:] == [b"still here"], "after a stranger's bytes nothing is heard")

    # ---------------------------------------------------------------- details

    @property
    def reactor(self) -> Any:
        """The SocketClock."""
        return self.context.reactor

    @property
    def context(self) -> TransportContext:
        """What the factory is given: one for each test."""
        try:
            context = self._context
        except AttributeError:
            context = self._context = TransportContext(SocketClock(), Counters(), repeatableSource(1), buffers=1 << 20)
        return context

    _context: TransportContext
    _range: range

    def _ports(self) -> range:
        try:
            ports = self._range
        except AttributeError:
            ports = self._range = freePorts(self.portCount)
        return ports

    def _arrive(self, datagrams: list[bytes]) -> None:
        with _Ends(self) as ends:
            ends.sendUp(datagrams)
            check(ends.atServer.datagrams == datagrams, _difference(ends.atServer.datagrams, datagrams))
            ends.sendDown(datagrams, ends.atServer.arrived[0][1])
            check(ends.atClient.datagrams == datagrams, "down: " + _difference(ends.atClient.datagrams, datagrams))


class _Ends:
    """A server and a client that listen, and are closed in the end."""

    def __init__(self, suite: DatagramTransportConformance) -> None:
        self._suite = suite
        self._open: list[Any] = []

    def __enter__(self) -> _Ends:  # noqa: PYI034 - nobody subclasses it
        self.server = self._suite.newServer()
        self.atServer = DatagramRecorder()
        self._listen(self.server, self.atServer)
        self.client, self.atClient = self.anotherClient()
        return self

    def __exit__(self, *exc: object) -> None:
        for transport in list(self._open):
            self.stop(transport)

    def anotherClient(self) -> tuple[Any, DatagramRecorder]:
        """One more that listens."""
        client, heard = self._suite.newClient(self.server), DatagramRecorder()
        self._listen(client, heard)
        return client, heard

    def batch(self, datagrams: list[bytes]) -> Batch:
        """An outbound batch of them, with the room that the transport asks for."""
        overhead = self.client.overhead
        batch = outboundBatch(max([64, *map(len, datagrams)]) + overhead, overhead)
        for datagram in datagrams:
            batch.append(datagram)
        return batch

    def send(self, transport: Any, datagrams: list[bytes], address: Any) -> None:
        """Send, and no more."""
        transport.send(self.batch(datagrams), address)

    def sendUp(self, datagrams: list[bytes]) -> None:
        """From the client to the server, until it is there."""
        self.send(self.client, datagrams, None)
        self.settle()

    def sendDown(self, datagrams: list[bytes], address: Any) -> None:
        """From the server to ``address``, until it is there."""
        self.send(self.server, datagrams, address)
        self.settle()

    def settle(self) -> None:
        """Let everything arrive that is under way."""
        for _ in range(TURNS):
            self._suite.passTime()

    def stop(self, transport: Any) -> list[Any]:
        """Close; return what the Deferred fired with, if it has."""
        if transport in self._open:
            self._open.remove(transport)
        fired: list[Any] = []
        stopped = transport.stopListening()
        check(isinstance(stopped, Deferred), f"stopListening returns a Deferred, not {stopped!r}")
        stopped.addCallback(fired.append)
        self.settle()
        return fired

    def answering(self) -> Any:
        """What a server's receiver may do: send everything back at once."""

        def answer(batch: Batch) -> None:
            for datagram, address in zip(list(map(bytes, batch)), batch.addresses or ()):
                self.send(self.server, [datagram], address)

        return answer

    def stranger(self, datagram: bytes) -> None:
        """Somebody who does not speak this transport's language sends to the server."""
        host = self.server.getHost()
        if self._suite.factory is None:
            return
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(datagram, (LOCAL, host.port))

    def _listen(self, transport: Any, receiver: DatagramRecorder) -> None:
        transport.startListening(receiver)
        self._open.append(transport)


def _difference(got: list[bytes], wanted: list[bytes]) -> str:
    if sorted(got) == sorted(wanted):
        return f"{len(wanted)} datagrams arrived in another order"
    return f"{len(wanted)} datagrams were sent, {len(got)} arrived, {sum(one in wanted for one in got)} of them whole"


TURNS = 6  # enough for a batch that is read in several, and for its answer
TOO_LONG = 70_000  # bytes; UDP's length is 16 bits
