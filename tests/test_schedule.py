"""The schedule: everybody is called in time and once, with one real timer at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from kcpstack.schedule import Schedule

TICK = 0.125  # s; exact in binary, so that times compare as they were meant


class Member:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.calls: list[float] = []

    def due(self, now: float) -> None:
        self.calls.append(now)


def test_callsInTime():
    clock = Clock()
    schedule = Schedule(clock)
    member = Member(schedule)
    schedule.at(member, 20.0)
    clock.advance(0.019)
    assert member.calls == []
    clock.advance(0.001)
    assert member.calls == [20.0]
    assert clock.getDelayedCalls() == []


def test_onlyTheLastWordCounts():
    clock = Clock()
    schedule = Schedule(clock)
    member = Member(schedule)
    schedule.at(member, 20.0)
    schedule.at(member, 50.0)
    schedule.at(member, 30.0)
    clock.pump([0.001] * 100)
    assert [round(call) for call in member.calls] == [30]


def test_nothingWantedIsNoTimer():
    clock = Clock()
    schedule = Schedule(clock)
    member = Member(schedule)
    schedule.at(member, 20.0)
    schedule.at(member, None)
    assert clock.getDelayedCalls() == []


def test_manyMembersShareOneTimer():
    clock = Clock()
    schedule = Schedule(clock)
    members = [Member(schedule) for _ in range(1000)]
    for index, member in enumerate(members):
        schedule.at(member, 1000.0 - index)
    assert len(clock.getDelayedCalls()) == 1
    clock.pump([0.01] * 110)
    assert all(len(member.calls) == 1 for member in members)


def test_soonIsOnceAfterThisTurn():
    clock = Clock()
    schedule = Schedule(clock)
    member = Member(schedule)
    schedule.soon(member)
    schedule.soon(member)
    assert member.calls == []
    clock.advance(0)
    assert len(member.calls) == 1
    clock.advance(1)
    assert len(member.calls) == 1


def test_aForgottenMemberIsNotCalled():
    clock = Clock()
    schedule = Schedule(clock)
    member = Member(schedule)
    schedule.soon(member)
    schedule.at(member, 5.0)
    schedule.forget(member)
    assert clock.getDelayedCalls() == []
    clock.advance(1)
    assert member.calls == []


def test_oneThatRaisesDoesNotCostTheOthersTheirCall():
    clock = Clock()
    schedule = Schedule(clock)

    class Faulty(Member):
        def due(self, now: float) -> None:
            raise ZeroDivisionError

    faulty, good = Faulty(schedule), Member(schedule)
    schedule.at(faulty, 5.0)
    schedule.at(good, 5.0)
    try:
        clock.advance(0.005)
    except ZeroDivisionError:
        clock.advance(0)
    assert len(good.calls) == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.one_of(st.none(), st.integers(0, 200)), st.integers(0, 20))))
def test_whateverIsAskedTheOnesWantedAreCalledAndOnlyThose(steps):
    clock = Clock()
    schedule = Schedule(clock)
    members = [Member(schedule) for _ in range(5)]
    wanted: dict[int, float] = {}
    called = [0] * 5
    for index, when, passes in steps:
        schedule.at(members[index], None if when is None else when * TICK * 1000)
        wanted.pop(index, None)
        if when is not None:
            wanted[index] = when * TICK
        clock.advance(passes * TICK)
        now = clock.seconds()
        for due in [i for i, time in wanted.items() if time <= now]:
            del wanted[due]
            called[due] += 1
        assert [len(member.calls) for member in members] == called
        assert len(clock.getDelayedCalls()) == (1 if wanted else 0)
