"""The fan-out: each datagram reaches the conversation of its address, and only that."""

from __future__ import annotations

import pytest

from kcpstack.batch import inboundBatch
from kcpstack.counters import Counters
from kcpstack.kernels.segment import ACK, ASK, HEADER, PUSH, glimpse
from kcpstack.layers.fanout import FIRST_SN_MAX, Fanout

HERE, THERE = ("127.0.0.1", 1000), ("127.0.0.1", 2000)


class Member:
    def __init__(self, address, conv) -> None:
        self.address = address
        self.conv = conv
        self.got: list[bytes] = []
        self.reason = None
        self.news = False
        self.newsToIt: list[bytes] = []
        self.moves: list = []

    def hasMoved(self) -> None:
        self.moves.append(self.address)

    def isNews(self, buffer, start, end) -> bool:
        return self.news or bytes(buffer[start:end]) in self.newsToIt

    def datagramsReceived(self, batch) -> None:
        self.got.extend(map(bytes, batch))

    def connectionLost(self, reason) -> None:
        self.reason = reason


class World:
    def __init__(self) -> None:
        self.made: list[Member] = []
        self.counters = Counters()
        self.fanout = Fanout(self.accept, glimpse, self.counters)

    def accept(self, address, conv) -> Member:
        self.made.append(Member(address, conv))
        return self.made[-1]

    def receive(self, *pairs) -> None:
        addresses = [address for address, _ in pairs]
        self.fanout.datagramsReceived(inboundBatch([datagram for _, datagram in pairs], addresses))


def push(conv: int, sn: int = 0, cmd: int = PUSH) -> bytes:
    return HEADER.pack(conv, cmd, 0, 32, 0, sn, 0, 0)


def test_aPushFromAnUnknownAddressOpensAConversation():
    world = World()
    world.receive((HERE, push(7)))
    assert [(member.address, member.conv) for member in world.made] == [(HERE, 7)]
    assert world.made[0].got == [push(7)]


def test_aMixedBatchIsSplitByAddressInOrder():
    world = World()
    world.receive((HERE, push(1)), (THERE, push(2)), (HERE, push(1, 1)), (HERE, push(1, 2)), (THERE, push(2, 1)))
    here, there = world.made
    assert here.got == [push(1), push(1, 1), push(1, 2)]
    assert there.got == [push(2), push(2, 1)]


def test_theFirstPushMayBeLostButNotTheWholeBeginning():
    world = World()
    world.receive((HERE, push(1, FIRST_SN_MAX - 1)))
    world.receive((THERE, push(1, FIRST_SN_MAX)))
    assert [member.address for member in world.made] == [HERE]
    assert world.counters.InErrs == 1


def test_whoHasReceivedSomethingBeforeIsNotAtTheBeginning():
    world = World()
    world.receive((HERE, HEADER.pack(7, PUSH, 0, 32, 0, 3, 1, 0)))
    assert world.made == [] and world.counters.InErrs == 1


def test_acksRubbishAndEmptyDatagramsOpenNothing():
    world = World()
    for datagram in (push(1, cmd=ACK), b"rubbish", b"", b"\x00" * 40):
        world.receive((HERE, datagram))
    assert world.made == []
    assert world.counters.InErrs == 4


def test_aNewConvWithItsFirstPushReplacesTheOldSession():
    world = World()
    world.receive((HERE, push(1)))
    world.receive((HERE, push(2, 5)))
    assert len(world.made) == 1 and world.made[0].reason is None
    world.receive((HERE, push(2, 0)))
    assert world.made[0].reason is not None
    assert world.made[1].conv == 2 and world.made[1].got == [push(2)]
    assert world.fanout.members() == [world.made[1]]


def test_theSameConvGoesOn():
    world = World()
    world.receive((HERE, push(1)))
    world.receive((HERE, push(1)), (HERE, b"parity, say"))
    assert world.made[0].got == [push(1), push(1), b"parity, say"]


def test_aForgottenAddressMayComeBackAndAnOldMemberCannotForgetTheNewOne():
    world = World()
    world.receive((HERE, push(1)))
    old = world.made[0]
    world.fanout.forget(old)
    world.receive((HERE, push(3)))
    world.fanout.forget(old)
    assert world.fanout.members() == [world.made[1]]


def test_aKnownConvWithNewsFromAnotherAddressHasMoved():
    world = World()
    world.receive((HERE, push(1)))
    (member,) = world.made
    member.news = True
    world.receive((THERE, push(1, 2000)))
    assert world.made == [member] and member.address == THERE
    assert world.fanout.members() == [member]
    world.receive((HERE, push(3)))
    assert [made.conv for made in world.made] == [1, 3]
    world.fanout.forget(member)
    assert world.fanout.members() == [world.made[1]]


@pytest.mark.parametrize("sn", [0, 1, 2000])
def test_aRecordedDatagramFromAnotherAddressMovesAndOpensNothing(sn):
    world = World()
    world.receive((HERE, push(1)))
    world.receive((THERE, push(1, sn)))
    assert len(world.made) == 1 and world.made[0].address == HERE and world.counters.InErrs == 1


def test_whoMovesToTheAddressOfAnotherTakesItAndTheOtherKeepsItsConversation():
    world = World()
    world.receive((HERE, push(1)), (THERE, push(2)))
    one, two = world.made
    two.news = True
    world.receive((HERE, push(2, 5)))
    assert two.got == [push(2), push(2, 5)] and one.reason is None
    one.news = True
    world.receive((THERE, push(1, 5)))
    assert one.got == [push(1), push(1, 5)]
    assert (one.address, two.address) == (THERE, HERE)
    assert world.fanout.members() == [one, two]


def test_whatShowsThatAPeerHasMovedMayComeBehindWhatDoesNot():
    world = World()
    world.receive((HERE, push(7)))
    world.made[0].newsToIt = [push(7, sn=3)]
    world.receive((THERE, push(7, cmd=ASK)))
    assert world.counters.InErrs == 1
    world.receive((THERE, push(7, cmd=ASK)), (THERE, push(7, sn=3)))
    assert world.made[0].address == THERE
    assert world.made[0].got == [push(7), push(7, cmd=ASK), push(7, sn=3)]
