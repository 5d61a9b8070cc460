"""Several sessions of one client (--conn), and sessions that are replaced by age (--autoexpire, --scavengettl)."""

from __future__ import annotations

import random

import pytest
from tunnel import SERVER, Echo, Recorder, Tunnel
from twisted.internet import defer
from twisted.internet.error import ConnectionLost, DNSLookupError
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs, formatEvent

from kcpstack.client import ANSWER_TIMEOUT
from kcpstack.counters import Counters
from kcpstack.link import CONNECT_TIMEOUT
from kcpstack.options import Address, ClientSettings, ServerSettings
from kcpstack.server import Server
from kcpstack.stack import Surroundings


def started(count: int = 1, listening: bool = True, **client) -> Tunnel:
    """A tunnel whose client has been started, with all sessions answered where there is a server."""
    tunnel = Tunnel(listening=listening, client={"conn": count, **client})
    tunnel.client.start()
    if listening:
        assert tunnel.run(lambda: len(answered(tunnel)) == count, 1)
    return tunnel


def answered(tunnel: Tunnel) -> list:
    return [link for link in tunnel.client.links if link.answered]


def streamCounts(tunnel: Tunnel) -> list[int]:
    return [link.mux.streamCount for link in tunnel.client.links]


def answer(tunnel: Tunnel, stream: Recorder, seconds: float = 60) -> bool:
    return tunnel.run(lambda: stream.received == stream.asks, seconds)


# ------------------------------------------------------------ --conn


@pytest.mark.option("conn")
def test_streamsAreDealtInTurnOverAllSessions():
    tunnel = started(4)
    for _ in range(12):
        assert answer(tunnel, tunnel.open(b"hello"))
    assert streamCounts(tunnel) == [3, 3, 3, 3]
    assert len(tunnel.server.conversations()) == 4


def test_eachSessionHasASocketOfItsOwn():
    tunnel = started(3)
    assert len({socket.address for socket in tunnel.sockets}) == 3


def test_noStreamGoesToASilentSessionWhileAnotherAnswers():
    tunnel = started(3)
    victim = tunnel.client.links[1]
    stuck = [tunnel.open(b"hello") for _ in range(3)]
    assert all(answer(tunnel, stream) for stream in stuck)
    tunnel.network.cut(tunnel.sockets[1], tunnel.transport)
    stuck[1].transport.write(b"!")
    assert tunnel.run(lambda: victim.silent, 5)
    before = victim.mux.streamCount
    streams = [tunnel.open(b"hello") for _ in range(9)]
    assert all(answer(tunnel, stream, 1) for stream in streams)
    assert victim.mux.streamCount == before


def test_theOtherSessionsGoOnWhenOneFails():
    tunnel = started(2)
    one, two = (tunnel.open(b"hello") for _ in range(2))
    assert answer(tunnel, one) and answer(tunnel, two)
    tunnel.client.links[0].close()
    assert one.lost is not None and two.lost is None
    for _ in range(4):
        assert answer(tunnel, tunnel.open(b"hello"), 1)
    assert tunnel.run(lambda: len(answered(tunnel)) == 2, 2)


def test_slotsDoNotDialInLockstepWhileTheServerIsAway():
    tunnel = started(4, listening=False)
    tunnel.advance(60)
    dialled = sorted(link.dialledAt for link in tunnel.client.links)
    assert len(set(dialled)) == len(dialled) > 1


# ------------------------------------------------------------ a server that is away


def test_aStreamThatIsOpenedWhileTheServerIsAwayWaitsForIt():
    tunnel = started()
    assert answer(tunnel, tunnel.open(b"before"))
    tunnel.server.close()
    tunnel.advance(CONNECT_TIMEOUT + 5)
    streams = [tunnel.open(b"hello") for _ in range(3)]
    tunnel.advance(CONNECT_TIMEOUT + 5)
    assert [stream.lost for stream in streams] == [None] * 3
    tunnel.startServer()
    assert all(answer(tunnel, stream, 10) for stream in streams)


def test_aStreamDoesNotWaitForEverAndSaysWhatItWaitedFor():
    tunnel = started(listening=False)
    tunnel.advance(5)
    stream = tunnel.open(b"hello")
    assert tunnel.run(lambda: stream.lost is not None, ANSWER_TIMEOUT + 1)
    assert "has not answered for 30 s" in stream.lost.getErrorMessage()
    assert "--key" in stream.lost.getErrorMessage()


def test_whoeverWaitsMayGiveUp():
    tunnel = started(listening=False)
    tunnel.advance(5)
    protocol = Recorder(b"hello")
    opened = tunnel.client.openStream(protocol)
    opened.cancel()
    assert isinstance(tunnel_result(opened), defer.CancelledError)
    tunnel.startServer()
    tunnel.advance(20)
    assert protocol.transport is None and tunnel.served == []


def tunnel_result(deferred: defer.Deferred) -> Exception:
    results: list = []
    deferred.addErrback(results.append)
    return results[0].value


def test_aStreamGoesToAnOlderSessionThatIsHeardAgain():
    tunnel = started()
    stream = tunnel.open(b"one")
    assert answer(tunnel, stream)
    tunnel.network.configure(cut=True)
    stream.transport.write(b"!")
    tunnel.advance(5)
    waiting = tunnel.open(b"two")
    assert waiting.transport is None
    tunnel.network.configure(cut=False)
    tunnel.network.cut(tunnel.sockets[-1], tunnel.transport)  # the spare session is still not answered
    assert answer(tunnel, waiting, 5)


def test_aNameThatCannotBeResolvedFailsTheStreamsThatWait():
    answers = [defer.succeed(SERVER[0]), defer.fail(DNSLookupError("no such host"))]
    tunnel = Tunnel(listening=False, resolveName=lambda host: answers.pop(0))
    tunnel.client.start()
    tunnel.advance(5)
    stream = tunnel.open(b"hello")
    assert tunnel.run(lambda: stream.lost is not None, CONNECT_TIMEOUT)
    assert stream.lost.check(DNSLookupError)
    tunnel.client.close()


# ------------------------------------------------------------ --autoexpire, --scavengettl


@pytest.mark.option("autoexpire")
def test_aSessionIsReplacedBeforeItIsGivenUp():
    tunnel = started(autoexpire=60)
    (first,) = tunnel.client.links
    tunnel.advance(59.5)
    assert tunnel.client.links == [first]
    seen = set()

    def replaced() -> bool:
        seen.add(any(link.mux.connected and link.answered for link in tunnel.client.links))
        return first not in tunnel.client.links

    assert tunnel.run(replaced, 10)
    assert seen == {True}, "there was a moment without a session"
    assert len(tunnel.client.links) == 1


def test_streamsOfAnExpiredSessionGoOnAndNewOnesGoToItsSuccessor():
    tunnel = started(autoexpire=60)
    old = tunnel.open(b"old")
    assert answer(tunnel, old)
    tunnel.advance(61)
    new = tunnel.open(b"new")
    assert answer(tunnel, new, 1)
    assert streamCounts(tunnel) == [1, 1]
    old.transport.write(b"er")
    assert tunnel.run(lambda: old.received == b"older", 1)
    old.transport.loseConnection()
    assert tunnel.run(lambda: len(tunnel.client.links) == 1, 5)
    assert new.lost is None
    assert tunnel.run(lambda: len(tunnel.server.conversations()) == 1, 10), "the server was told"


def test_whileNothingAnswersAnExpiredSessionTakesTheStreams():
    tunnel = started(autoexpire=60)
    send = tunnel.newSocket

    def deaf(peer):
        socket = send(peer)
        tunnel.network.cut(socket, tunnel.transport)
        return socket

    tunnel.newSocket = deaf
    tunnel.advance(100)
    assert len(tunnel.sockets) > 2
    assert answer(tunnel, tunnel.open(b"hello"), 1)
    tunnel.newSocket = send
    assert tunnel.run(lambda: len(tunnel.client.links) > 1 and tunnel.client.links[-1].answered, 60)


def test_theSessionsOfOneClientDoNotExpireTogether():
    tunnel = started(4, autoexpire=400)
    assert [link.expiresAt for link in tunnel.client.links] == [100, 200, 300, 400]
    tunnel.advance(1000)
    expiries = sorted(link.expiresAt for link in tunnel.client.links)
    assert all(later - earlier > 90 for earlier, later in zip(expiries, expiries[1:]))


@pytest.mark.option("scavengettl")
def test_whatIsLeftOfAnExpiredSessionIsCutAfterItsTTLAndTheLogSaysSo():
    tunnel = started(autoexpire=60, scavengettl=30)
    streams = [tunnel.open(b"hello") for _ in range(3)]
    assert all(answer(tunnel, stream) for stream in streams)
    streams[0].transport.loseConnection()
    tunnel.advance(88)
    assert [stream.lost is not None for stream in streams] == [True, False, False]
    with capturedLogs() as logs:
        assert tunnel.run(lambda: all(stream.lost for stream in streams), 3)
    lines = [formatEvent(event) for event in logs]
    assert [line for line in lines if "2 of its streams" in line and "30 s" in line and "--scavengettl" in line]
    assert tunnel.run(lambda: tunnel.served[1].lost is not None, 1)
    assert tunnel.served[1].lost.check(ConnectionLost), "cut at the other end, too"


@pytest.mark.option("scavengettl")
def test_withATTLOfMinusOneStreamsOfExpiredSessionsAreNeverCut():
    tunnel = started(autoexpire=60, scavengettl=-1)
    stream = tunnel.open(b"hello")
    assert answer(tunnel, stream)
    tunnel.advance(4000)
    assert stream.lost is None
    stream.transport.write(b"!")
    assert tunnel.run(lambda: stream.received == b"hello!", 1)
    assert len(tunnel.client.links) == 2, "the sessions in between had no streams"


# ------------------------------------------------------------ a range of ports


def dialledPorts(tunnel: Tunnel) -> list[int]:
    return [port for host, port in tunnel.dialled]


@pytest.mark.option("remoteaddr")
def test_sessionsPickPortsOfTheRange():
    tunnel = started(20, listening=False, remoteaddr=Address(SERVER[0], 3000, 3010))
    ports = dialledPorts(tunnel)
    assert set(ports) <= set(range(3000, 3011)) and len(set(ports)) > 4


def test_aPortThatDoesNotAnswerIsNotTriedAgainBeforeTheOthers():
    tunnel = started(listening=False, remoteaddr=Address(SERVER[0], 29900, 29903))
    tunnel.advance(300)
    ports = dialledPorts(tunnel)
    assert len(ports) > 8
    for first in range(len(ports) - 4):
        assert ports[first] != ports[first + 1]
    assert sorted(ports[:4]) == [29900, 29901, 29902, 29903]


def test_aPortThatHasGoneSilentIsLeft():
    tunnel = Tunnel(client={"remoteaddr": Address(SERVER[0], 29900, 29901)})
    tunnel.client.start()
    assert tunnel.run(lambda: answered(tunnel), 60)
    assert dialledPorts(tunnel)[-1] == 29900
    stream = tunnel.open(b"hello")
    assert answer(tunnel, stream)
    tunnel.network.cut(tunnel.sockets[-1], tunnel.transport)
    stream.transport.write(b"!")
    count = len(tunnel.sockets)
    assert tunnel.run(lambda: len(tunnel.sockets) > count, 5)
    assert dialledPorts(tunnel)[-1] == 29901


# ------------------------------------------------------------ new settings under way


def test_aClientThatIsGivenAnotherHostWhileANameIsResolvedDialsThatOne():
    asked: list = []

    def resolve(host):
        asked.append((host, defer.Deferred()))
        return asked[-1][1]

    tunnel = Tunnel(resolveName=resolve, client={"remoteaddr": Address("old", 29900)})
    tunnel.client.start()
    tunnel.client.reconfigure(ClientSettings(remoteaddr=Address("new", 29900)), True)
    asked[0][1].callback("10.0.0.9")
    assert [host for host, _ in asked] == ["old", "new"]
    asked[1][1].callback(SERVER[0])
    assert tunnel.dialled == [SERVER]


@pytest.mark.parametrize("before", [0, 5000])
def test_aNewAutoexpireHoldsForTheSessionsThatAreDialledForIt(before):
    tunnel = started(2, autoexpire=before)
    tunnel.client.reconfigure(ClientSettings(remoteaddr=Address(*SERVER), conn=2, autoexpire=60), True)
    now = tunnel.clock.seconds()
    tunnel.advance(5)
    assert sorted(link.expiresAt - now for link in tunnel.client.links) == [30, 60]


def test_aSessionThatIsAnsweredAfterItsSuccessorDoesNotKeepThatFromExpiring():
    tunnel = Tunnel()
    tunnel.client.start()
    tunnel.network.direction(tunnel.transport, tunnel.sockets[0]).configure(delay=500)
    tunnel.client.reconfigure(ClientSettings(remoteaddr=Address(*SERVER), autoexpire=60), True)
    tunnel.advance(62)
    assert len(tunnel.sockets) == 3


def test_newSettingsWhoseServerIsNotThereYetAreTriedUntilItIs():
    tunnel = started(1)
    tunnel.client.reconfigure(ClientSettings(remoteaddr=Address("10.0.0.2", SERVER[1])), True)
    tunnel.advance(30)
    assert len(tunnel.client.links) >= 1  # the old one goes on
    around = Surroundings(tunnel.clock, Counters(), random.Random(9).randbytes)
    factory = Factory()
    factory.buildProtocol = lambda address: Echo()
    other = Server(ServerSettings(), around, tunnel.network.transport(("10.0.0.2", SERVER[1])), factory)
    other.open()
    assert tunnel.run(lambda: other.conversations() != [], 31)
    assert tunnel.run(lambda: len(tunnel.client.links) == 1, 10)
    tunnel.advance(60)
    dialled = len(tunnel.dialled)
    tunnel.advance(60)
    assert len(tunnel.dialled) == dialled


def test_aServerThatCannotBeDialledIsSaidOnceHoweverManyConnectionsCome():
    with capturedLogs() as events:
        tunnel = Tunnel(resolveName=lambda host: defer.fail(DNSLookupError("no such host")))
        for _ in range(100):
            tunnel.open()
            tunnel.advance(0.1)
    lines = [formatEvent(event) for event in events]
    assert len([line for line in lines if "No session to" in line]) == 1


class Stopped(Recorder):
    def connectionMade(self) -> None:
        self.transport.pauseProducing()


@pytest.mark.option("scavengettl")
def test_anExpiredSessionThatIsCutEndsEvenWhereThePeersWindowIsClosed():
    buffers = {"smuxver": 1, "smuxbuf": 70_000, "streambuf": 65_536, "rcvwnd": 32}
    tunnel = Tunnel(serves=Stopped, nocomp=True, client={"autoexpire": 60, "scavengettl": 10}, **buffers)
    tunnel.client.start()
    stream = tunnel.open()
    tunnel.advance(1)
    stream.transport.write(bytes(1_000_000))
    (first,) = tunnel.client.links
    assert tunnel.run(lambda: stream.lost is not None, 75)
    assert tunnel.run(lambda: first not in tunnel.client.links, 2)
