"""Each invariant of the random worlds can fail: a world that is well is tampered with in its middle, and the promise is broken."""

from __future__ import annotations

from typing import Any

import pytest
from invariants import GLANCES, PROMISES, Broken, Session
from world import World

SECONDS = 0.4  # some streams are busy then
PLAIN = {"crypt": "none", "QPP": False, "sndwnd": 128, "rcvwnd": 128, "mtu": 576, "datashard": 3, "parityshard": 1, "nocomp": True}
OPTIONS = {**PLAIN, "mode": "fast", "acknodelay": False, "framesize": 8192, "streambuf": 16_384, "smuxbuf": 65_536}


class Quiet(World):
    """Two streams that go on for a while, over a long path."""

    def drawCharacter(self, rng: Any, stream: int) -> Any:
        return 40_000, "ends", ((0.02,), (1300,))


def quietWorld() -> Quiet:
    world = Quiet(1, {**OPTIONS}, {"delay": 20.0, "jitter": 0.0, "loss": 0.0, "reorder": 0.0, "duplicate": 0.0, "corrupt": 0.0})
    object.__setattr__(world.clientSettings, "smuxver", 2)
    for stream in range(2):
        world.open(stream)
    world.clock.advanceUntil(lambda: False, SECONDS)
    world.invariants.look()
    return world


def client(world: Any) -> Session:
    """The client's session."""
    return next(each for each in world.invariants._sessions.values() if each.life.end == "client")


def stream(session: Session) -> Any:
    return next(iter(session.mux._streams.values()))


def overrun(world: Any) -> None:
    """Somebody thinks that one more is allowed."""
    arq = client(world).arq
    arq._sendRoom = lambda: arq._una + client(world).window + 1 - arq._nxt
    arq.write(bytes(200_000))
    client(world).kcp.due(client(world).schedule.now())


def acknowledgeUnheard(world: Any) -> None:
    it = client(world)
    it.arq._segments.clear()
    it.arq._una = it.arq._nxt = it.arq._nxt + 5


def forgetTurn(world: Any) -> None:
    client(world).sender._urgent.append(b"x")
    client(world).sender._forgetTurn()


def overfill(world: Any) -> None:
    it = client(world)
    it.arrived.unread.extend([b"x"] * (it.arrived._window + 1))


def leaveInOrder(world: Any) -> None:
    it = client(world)
    it.arrived.early[it.arrived.nxt] = b"x"


def keepUnsent(world: Any) -> None:
    it = client(world)
    it.arq._queue.append(memoryview(b"x"))
    it.arq.unsent += 1
    it.schedule._soon.pop(it.kcp, None)


def forgetTimer(world: Any) -> None:
    it = client(world)
    it.schedule._soon.clear()
    it.schedule._wanted.clear()
    it.arq._arrived.ackAt = 1.0


def queueMuch(world: Any) -> None:
    client(world).arq.unsent += 400_000
    client(world).schedule.soon(client(world).kcp)


def stopForGood(world: Any) -> None:
    client(world).sender._paused = True


def holdShards(world: Any) -> None:
    it = client(world)
    it.decoder._groups = None
    it.decoder._held.extend([(1, False, b"x")] * 65)


def miscount(world: Any) -> None:
    client(world).mux._unread += 1


def readOn(world: Any) -> None:
    client(world).mux._sessionBuffer = -1


def overrunStream(world: Any) -> None:
    window = stream(client(world))._sendWindow
    window._sent += window._size + 1


def inventBytes(world: Any) -> None:
    client(world).peer.mux._streams[3]._receiveWindow._untold += 100_000


def answerForEver(world: Any) -> None:
    client(world).sender.urgentBytes = 1 << 30


def loseSession(world: Any) -> None:
    world.clientCounters.CurrEstab += 1


def loseSegments(world: Any) -> None:
    world.clientCounters.LostSegs += 1


def leave(world: Any) -> None:
    world.lives[0].gone = True


def receiveMore(world: Any) -> None:
    world.clientCounters.BytesReceived += 1_000_000


def setTimers(world: Any) -> None:
    for _ in range(1000):
        world.clock.callLater(100, lambda: None)


def spin(world: Any) -> None:
    world.clock.stepsAtOnce = 1_000_000


TAMPERING = {
    "inFlightFitsTheWindows": overrun,
    "sequenceNumbersOnlyGrow": lambda world: setattr(client(world).arq, "_una", client(world).una - 1),
    "whatIsAcknowledgedHasArrived": acknowledgeUnheard,
    "receivedFitsTheWindow": overfill,
    "whatIsInOrderIsHandedUp": leaveInOrder,
    "whatMayLeaveLeaves": keepUnsent,
    "everyTimeoutHasATimer": forgetTimer,
    "unsentIsBounded": queueMuch,
    "aPausedSenderIsResumed": stopForGood,
    "shardsHeldAreFew": holdShards,
    "unreadIsCounted": miscount,
    "aFullSessionStopsReading": readOn,
    "streamsFitTheirWindows": overrunStream,
    "whatIsConsumedWasSent": inventBytes,
    "whatAStreamWantsIsDone": forgetTurn,
    "answersAreBounded": answerForEver,
    "sessionsAreCounted": loseSession,
    "countersAgree": loseSegments,
    "whoIsGoneIsSilent": leave,
    "nothingComesFromNowhere": receiveMore,
    "timersAreFew": setTimers,
    "timePasses": spin,
}


def test_everyPromiseIsTampered():
    assert set(TAMPERING) == set(PROMISES)


@pytest.mark.parametrize("promise", PROMISES)
def test_whatBreaksAPromiseIsFound(promise):
    world = quietWorld()
    TAMPERING[promise](world)
    with pytest.raises(Broken) as broken:
        for _ in range(GLANCES + 1):
            world.invariants.look()
    assert broken.value.promise == promise


def test_refusalsOfTheNetworkAreNoTimers():
    world = quietWorld()
    for _ in range(1000):
        world.clock.callLater(0, world.lives[0].sockets[0].refused)
    world.invariants.look()


def test_promisesAreLookedAtAfterEachStep():
    world = quietWorld()
    looks = []
    world.clock.afterStep = lambda: looks.append(world.clock.steps)
    before = world.clock.steps
    world.clock.advanceUntil(lambda: False, 0.2)
    assert looks == list(range(before + 1, world.clock.steps + 1)) and looks


def test_aBrokenPromiseEndsTheWorld():
    world = Quiet(1)
    world.clock.callLater(0.1, spin, world)
    with pytest.raises(AssertionError, match="timePasses"):
        world.run()
