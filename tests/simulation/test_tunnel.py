"""The tunnel on virtual time: what happens when an end is slow, silent or gone."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tunnel import SERVER, Echo, Endless, Recorder, Tunnel
from twisted.internet import defer
from twisted.internet.error import ConnectionLost, DNSLookupError, TimeoutError

from kcpstack.batch import outboundBatch
from kcpstack.kernels.segment import HEADER
from kcpstack.layers.smux import KEEPALIVE_TIMEOUT
from kcpstack.link import CONNECT_TIMEOUT


def test_aQuestionIsAnsweredInOneRoundTrip():
    tunnel = Tunnel()
    stream = tunnel.open()
    stream.transport.write(b"hello")
    assert tunnel.run(lambda: stream.received == b"hello")
    assert tunnel.clock.seconds() == pytest.approx(0.020, abs=0.002)


def test_streamsShareASession():
    tunnel = Tunnel()
    streams = [tunnel.open() for _ in range(50)]
    for index, stream in enumerate(streams):
        stream.transport.write(b"%d" % index)
    assert tunnel.run(lambda: all(stream.received == b"%d" % i for i, stream in enumerate(streams)))
    assert len(tunnel.sockets) == 1 and len(tunnel.server.conversations()) == 1


def test_aServerThatIsNotThereFailsTheStreamInBoundedTime():
    tunnel = Tunnel(listening=False)
    stream = tunnel.open()
    stream.transport.write(b"hello")
    assert tunnel.run(lambda: stream.lost is not None, CONNECT_TIMEOUT + 1)
    assert tunnel.clock.seconds() == pytest.approx(CONNECT_TIMEOUT)
    assert stream.lost.check(TimeoutError) and "--key" in stream.lost.getErrorMessage()
    assert tunnel.client.links == [] and tunnel.clock.getDelayedCalls() == []


def test_aRefusedServerSaysSoAndMayStillStart():
    tunnel = Tunnel(listening=False)
    tunnel.network.refuses = True
    stream = tunnel.open()
    stream.transport.write(b"hello")
    tunnel.run(lambda: False, 3)
    assert stream.lost is None
    tunnel.startServer()
    assert tunnel.run(lambda: stream.received == b"hello")


def test_anUnknownHostFailsTheStreamAtOnceAndTheNextOneTriesAgain():
    answers = [defer.fail(DNSLookupError("no such host")), defer.succeed(SERVER[0])]
    tunnel = Tunnel(resolveName=lambda host: answers.pop(0))
    first = tunnel.open()
    assert first.lost.check(DNSLookupError)
    second = tunnel.open()
    second.transport.write(b"hello")
    assert tunnel.run(lambda: second.received == b"hello")


def test_aClientThatIsClosedWhileItLooksForItsServerDialsNoMore():
    answer = defer.Deferred()
    tunnel = Tunnel(resolveName=lambda host: answer)
    tunnel.client.start()
    stream = tunnel.open()
    tunnel.client.close()
    assert stream.lost.check(defer.CancelledError)
    answer.callback(SERVER[0])
    assert tunnel.sockets == [] and tunnel.clock.getDelayedCalls() == []


def test_aSilentSessionEndsAndTheNextStreamDialsANewOne():
    tunnel = Tunnel()
    first = tunnel.open()
    first.transport.write(b"hello")
    assert tunnel.run(lambda: first.received == b"hello")
    tunnel.network.cut(tunnel.sockets[0], tunnel.transport)
    began = tunnel.clock.seconds()
    assert tunnel.run(lambda: first.lost is not None, 2 * KEEPALIVE_TIMEOUT)
    assert tunnel.clock.seconds() - began <= KEEPALIVE_TIMEOUT + 0.2
    assert first.lost.check(ConnectionLost) and "30 s" in first.lost.getErrorMessage()
    second = tunnel.open(b"again")
    assert tunnel.run(lambda: second.received == b"again")
    assert len(tunnel.sockets) == 2
    assert tunnel.run(lambda: len(tunnel.server.conversations()) == 1, 2 * KEEPALIVE_TIMEOUT)


def test_aClientThatWasStartedHasASessionReadyBeforeTheFirstStream():
    tunnel = Tunnel()
    tunnel.client.start()
    assert tunnel.run(lambda: len(tunnel.server.conversations()) == 1, 1)
    stream = tunnel.open()
    stream.transport.write(b"hello")
    assert tunnel.run(lambda: stream.received == b"hello")
    assert len(tunnel.sockets) == 1


def test_aServerThatIsNotThereIsTriedAgainEverMoreSlowlyAndFoundWhenItComes():
    tunnel = Tunnel(listening=False)
    tunnel.client.start()
    tunnel.run(lambda: False, 300)
    assert 6 <= len(tunnel.sockets) <= 12
    tunnel.startServer()
    assert tunnel.run(lambda: tunnel.server.conversations(), 40)
    before = len(tunnel.sockets)
    tunnel.run(lambda: False, 300)
    assert len(tunnel.sockets) == before
    tunnel.client.close()
    tunnel.server.close()
    assert tunnel.clock.getDelayedCalls() == []


def restart(tunnel):
    """The server is gone and comes back, knowing nothing."""
    for conversation in tunnel.server.conversations():
        conversation.session.abortConnection()


def test_aRestartedServerIsNoticedWithinSecondsOfTrafficAndTheOldStreamsAreTold():
    tunnel = Tunnel(faults={"loss": 0.02})
    tunnel.client.start()
    old = tunnel.open()
    old.transport.write(b"hello")
    assert tunnel.run(lambda: old.received == b"hello")
    restart(tunnel)
    began = tunnel.clock.seconds()
    old.transport.write(b"are you there?")
    assert tunnel.run(lambda: len(tunnel.client.links) == 2, 5)
    new = tunnel.open(b"hello")
    assert tunnel.run(lambda: new.received == b"hello", 3)
    assert tunnel.clock.seconds() - began < 5
    assert tunnel.run(lambda: old.lost is not None, 10)
    assert tunnel.clock.seconds() - began < 12
    tunnel.run(lambda: False, 60)
    assert len(tunnel.client.links) == 1 and new.lost is None


def test_aPathThatIsCutForAMomentCostsNoStream():
    tunnel = Tunnel()
    tunnel.client.start()
    stream = tunnel.open()
    stream.transport.write(b"one")
    assert tunnel.run(lambda: stream.received == b"one")
    tunnel.network.configure(cut=True)
    stream.transport.write(b"two")
    tunnel.run(lambda: False, 5)
    tunnel.network.configure(cut=False)
    assert tunnel.run(lambda: stream.received == b"onetwo", 6)
    assert stream.lost is None
    assert tunnel.run(lambda: len(tunnel.client.links) == 2, 1)  # one was dialled meanwhile
    stream.transport.loseConnection()
    assert tunnel.run(lambda: len(tunnel.client.links) == 1, 20)  # the newer one stays


def test_aBlackHoledSocketIsLeftForAFreshOne():
    tunnel = Tunnel()
    tunnel.client.start()
    old = tunnel.open()
    old.transport.write(b"hello")
    assert tunnel.run(lambda: old.received == b"hello")
    tunnel.network.cut(tunnel.sockets[0], tunnel.transport)
    old.transport.write(b"lost")
    assert tunnel.run(lambda: len(tunnel.sockets) == 2, 4)
    new = tunnel.open(b"hello")
    assert tunnel.run(lambda: new.received == b"hello", 1)


def test_anIdleBlackHoleIsFoundByTheKeepaliveAndASessionIsReadyAgain():
    tunnel = Tunnel()
    tunnel.client.start()
    tunnel.run(lambda: tunnel.server.conversations(), 1)
    tunnel.network.cut(tunnel.sockets[0], tunnel.transport)
    assert tunnel.run(lambda: len(tunnel.sockets) == 2, 15)


@pytest.mark.parametrize("shards", [(0, 0), (10, 3)])
def test_streamsSurviveANATThatRebinds(shards):
    tunnel = Tunnel(faults={"loss": 0.02}, datashard=shards[0], parityshard=shards[1])
    stream = tunnel.open()
    sent = b""
    for index in range(20):
        piece = bytes([index]) * 20_000
        stream.transport.write(piece)
        sent += piece
        tunnel.run(lambda: False, 0.5)
        tunnel.sockets[0].rebind(("10.50.0.1", 5000 + index))
        if index == 10:
            tunnel.run(lambda: False, 20)  # the server speaks next: it cannot, before it has heard
    assert tunnel.run(lambda: stream.received == sent)
    assert len(tunnel.server.conversations()) == 1 and stream.lost is None


def test_aRecordedDatagramFromElsewhereDoesNotMoveASession():
    tunnel = Tunnel()
    recorded = []
    stream = tunnel.open()
    send = tunnel.sockets[0].send

    def record(batch, address):
        recorded.extend(bytes(datagram) for datagram in batch)
        send(batch, address)

    tunnel.sockets[0].send = record
    for _ in range(5):
        stream.transport.write(random.Random(3).randbytes(5000))
        tunnel.run(lambda: False, 1)
    elsewhere = tunnel.network.transport(("10.66.6.6", 666), SERVER)
    elsewhere.startListening(Deaf())
    batch = outboundBatch(1500, 0)
    for datagram in recorded:
        batch.append(datagram)
    elsewhere.send(batch, None)
    tunnel.run(lambda: False, 1)
    assert tunnel.network.direction(elsewhere, tunnel.transport).tally.carried == len(recorded) > 20
    (conversation,) = tunnel.server.conversations()
    assert conversation.address == tunnel.sockets[0].address and len(tunnel.served) == 1
    tunnel.sockets[0].rebind(("10.50.0.1", 5000))
    before = len(stream.received)
    stream.transport.write(b"moved")
    assert tunnel.run(lambda: len(stream.received) == before + 5)


class Deaf:
    """A receiver that hears nothing."""

    def datagramsReceived(self, batch):
        pass

    def connectionRefused(self):
        pass


def test_whatWasOnItsWayToTheOldAddressIsSentAgainAtOnce():
    tunnel = Tunnel()
    stream = tunnel.open(b"hello")
    assert tunnel.run(lambda: stream.received == b"hello")
    tunnel.advance(1)
    tunnel.sockets[0].rebind(("10.50.0.1", 5000))
    tunnel.served[0].transport.write(bytes(5000))
    tunnel.advance(6)  # its timers have backed off meanwhile, to seconds
    assert len(stream.received) == 5
    stream.transport.write(b"x")
    assert tunnel.run(lambda: len(stream.received) == 5006, seconds=0.5)


@pytest.mark.parametrize("smuxver", [1, 2])
def test_aClientThatOnlySendsIsFollowedToo(smuxver):
    tunnel = Tunnel(serves=Recorder, smuxver=smuxver)
    stream = tunnel.open()
    for index in range(10):
        stream.transport.write(bytes(3000))
        tunnel.run(lambda: False, 0.05)
        tunnel.sockets[0].rebind(("10.50.0.1", 5000 + index))
    assert tunnel.run(lambda: tunnel.served and len(tunnel.served[0].received) == 30_000)
    assert len(tunnel.server.conversations()) == 1


def test_twoClientsThatSwapTheirAddressesAreBothFollowed():
    tunnel = Tunnel()
    one = tunnel.open()
    one.transport.write(b"one")
    assert tunnel.run(lambda: one.received == b"one")
    tunnel.client = tunnel.newClient()
    two = tunnel.open()
    two.transport.write(b"two")
    assert tunnel.run(lambda: two.received == b"two")
    first, second = tunnel.sockets
    here, there = first.address, second.address
    first.rebind(("10.50.0.9", 9))
    second.rebind(here)
    first.rebind(there)
    one.transport.write(b"!")
    two.transport.write(b"!")
    assert tunnel.run(lambda: one.received == b"one!" and two.received == b"two!")
    assert len(tunnel.server.conversations()) == 2


def test_aClientIsNeverLeftWithARetiredSessionAlone():
    tunnel = Tunnel()
    tunnel.client.start()
    old = tunnel.open()
    old.transport.write(b"old")
    assert tunnel.run(lambda: old.received == b"old")
    tunnel.network.configure(cut=True)
    old.transport.write(b"!")
    tunnel.run(lambda: False, 4)
    tunnel.network.configure(cut=False)
    assert tunnel.run(lambda: old.received == b"old!" and tunnel.client.links[-1].conversation.session.established)
    tunnel.client.links[-1].conversation.session.abortConnection()
    new = tunnel.open()
    new.transport.write(b"new")
    assert tunnel.run(lambda: new.received == b"new")
    assert old.lost is None


def test_theSessionOfAClientThatVanishedIsFreedEvenWhileItsStreamsAreStopped():
    class Stopped(Recorder):
        def connectionMade(self):
            self.transport.pauseProducing()

    tunnel = Tunnel(serves=Stopped, smuxbuf=65_536, streambuf=65_536, nocomp=True)
    streams = [tunnel.open() for _ in range(3)]
    for stream in streams:
        stream.transport.write(bytes(200_000))
    tunnel.run(lambda: False, 5)
    tunnel.network.cut(tunnel.sockets[0], tunnel.transport)
    tunnel.client.close()
    for served in tunnel.served:
        served.transport.write(b"anybody there?")
    assert tunnel.run(lambda: not tunnel.server.conversations(), 120)
    assert all(served.lost is not None for served in tunnel.served)


def test_anIdleSessionIsKeptAliveForHoursByAHandfulOfDatagrams():
    tunnel = Tunnel()
    stream = tunnel.open()
    stream.transport.write(b"hello")
    tunnel.run(lambda: False, 60)
    before = tunnel.counters.OutPkts
    tunnel.run(lambda: False, 3600)
    assert stream.lost is None
    assert tunnel.counters.OutPkts - before <= 3600 / 10 * 3  # a NOP each way every 10 s, and its ack
    stream.transport.write(b"still")
    assert tunnel.run(lambda: stream.received == b"hellostill")


@pytest.mark.parametrize("smuxver", [1, 2])
def test_aStoppedReaderStopsTheFarWriterAndMemoryStaysBounded(smuxver):
    class Stopped(Recorder):
        def connectionMade(self):
            self.transport.pauseProducing()

    tunnel = Tunnel(serves=Stopped, nocomp=True, smuxver=smuxver, smuxbuf=1 << 20, streambuf=1 << 18)
    stream = tunnel.open()
    producer = Endless(stream.transport)
    tunnel.run(lambda: False, 60)
    assert not producer.running
    assert producer.written < (1 << 20) + 2_000_000  # smuxbuf, both windows, and what waits to be sent
    reader = tunnel.served[0]
    for _ in range(20):
        reader.transport.resumeProducing()
        tunnel.run(lambda: False, 1)
        reader.transport.pauseProducing()
    assert len(reader.received) > 4_000_000
    assert producer.written - len(reader.received) < (1 << 20) + 2_000_000


def test_onSmux2ASlowStreamDoesNotStopTheOthers():
    class SometimesStopped(Echo):
        def dataReceived(self, data):
            if data.startswith(b"stop"):
                self.transport.pauseProducing()
            else:
                super().dataReceived(data)

    tunnel = Tunnel(serves=SometimesStopped, smuxver=2)
    slow, other = tunnel.open(), tunnel.open()
    slow.transport.write(b"stop")
    tunnel.run(lambda: False, 1)
    producer = Endless(slow.transport)
    tunnel.run(lambda: not producer.running)
    other.transport.write(b"hello")
    began = tunnel.clock.seconds()
    assert tunnel.run(lambda: other.received == b"hello", 10)
    assert tunnel.clock.seconds() - began < 1


def test_allThatWasWrittenBeforeACloseArrives():
    tunnel = Tunnel(serves=Recorder, faults={"loss": 0.1})
    stream = tunnel.open()
    stream.transport.write(b"x" * 1_000_000)
    stream.transport.loseConnection()
    assert tunnel.run(lambda: tunnel.served and tunnel.served[0].lost is not None)
    assert len(tunnel.served[0].received) == 1_000_000


def test_aClientThatStartsOverOnTheSameAddressGetsANewSession():
    tunnel = Tunnel()
    first = tunnel.open()
    first.transport.write(b"one")
    assert tunnel.run(lambda: first.received == b"one")
    address = tunnel.sockets[0].address
    tunnel.client.close()
    tunnel.newSocket = lambda peer: tunnel.network.transport(address, peer, tunnel.counters)
    second = tunnel.open()
    second.transport.write(b"two")
    assert tunnel.run(lambda: second.received == b"two")
    assert len(tunnel.server.conversations()) == 1


def test_anotherKeyIsSilenceAndCounted():
    tunnel = Tunnel(listening=False)
    tunnel.options = {"key": "another"}
    tunnel.startServer()
    stream = tunnel.open()
    stream.transport.write(b"hello")
    assert tunnel.run(lambda: stream.lost is not None)
    assert tunnel.server.conversations() == []
    assert tunnel.server.port.around.counters.InCsumErrors > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=200)), max_size=30))
def test_whatStrangersSendHarmsNobodyEvenWithoutACipher(rubbish):
    tunnel = Tunnel(crypt="null")
    stream = tunnel.open()
    stream.transport.write(b"before")
    assert tunnel.run(lambda: stream.received == b"before")
    strangers = [tunnel.network.transport((f"10.66.0.{number}", 666), SERVER) for number in range(3)]
    for number, datagram in rubbish:
        shaped = rubbishLike(datagram, tunnel.server.conversations()[0].conv)
        batch = outboundBatch(1500, 0)
        batch.append(shaped)
        strangers[number].startListening(object())  # it hears nothing: it is gone at once
        strangers[number].send(batch, None)
        strangers[number].stopListening()
    tunnel.run(lambda: False, 1)
    stream.transport.write(b"after")
    assert tunnel.run(lambda: stream.received == b"beforeafter")
    assert len(tunnel.server.conversations()) <= 4
    tunnel.client.close()
    tunnel.server.close()
    assert tunnel.clock.getDelayedCalls() == []


def rubbishLike(data: bytes, conv: int) -> bytes:
    """Bytes that pass for more than noise: with a KCP header, a FEC header, or as they are."""
    kind = data[0] % 4 if data else 3
    if kind == 0:
        return HEADER.pack(conv + 1, 81 + len(data) % 4, 0, 32, 0, len(data), 0, len(data)) + data
    if kind == 1:
        return struct.pack("<IHH", len(data), 0xF1 + data[0] % 3, len(data) + 2) + data
    if kind == 2:
        segment = HEADER.pack(conv + 2, 81, 0, 32, 0, 0, 0, len(data)) + data
        return struct.pack("<IHH", 0, 0xF1, len(segment) + 2) + segment
    return data


def test_aClientThatMovesIsFollowedWhereWhatItRepeatsFirstHadArrived():
    tunnel = Tunnel(faults={"delay": 150.0}, datashard=0)
    tunnel.client.start()
    stream = tunnel.open(b"hello")
    assert tunnel.run(lambda: stream.received == b"hello", 10)
    tunnel.network.cut(tunnel.sockets[0], tunnel.transport)  # with an ack on its way
    stream.transport.write(b"!")
    tunnel.advance(0.5)
    tunnel.sockets[0].rebind(("10.50.0.1", 5000))
    tunnel.network.heal(tunnel.sockets[0], tunnel.transport)
    assert tunnel.run(lambda: stream.received == b"hello!", 2)
