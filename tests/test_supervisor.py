"""Workers are kept running: what has ended is started again, after a pause that grows while that does not help."""

from __future__ import annotations

import errno

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from kcpstack.supervisor import PAUSE, PAUSE_MAX, STEADY, Pauses, Supervisor


class World:
    """A supervisor of workers that a test ends."""

    def __init__(self, count: int = 2) -> None:
        self.clock = Clock()
        self.begun: list[int] = []
        self.lost: list[int] = []
        self.ends = {}
        self.error: OSError | None = None
        self.supervisor = Supervisor(self.clock, count, self.launch, self.lost.append)
        self.supervisor.start()

    def launch(self, number, ended):
        if self.error is not None:
            raise self.error
        self.begun.append(number)
        self.ends[number] = ended
        return f"worker {number}"

    def end(self, number: int, how: str = "was killed by SIGKILL") -> None:
        self.ends[number](how)


@pytest.fixture
def logged():
    with capturedLogs() as events:
        lines: list[str] = []
        yield lambda: [*lines, *map(formatEvent, events)]


def test_the_pauses_double_up_to_the_longest_and_begin_anew_after_a_steady_run():
    clock = Clock()
    pauses = Pauses(clock)
    found = []
    for _ in range(12):
        pauses.begun()
        clock.advance(1)
        found.append(pauses.ended())
    assert found[:4] == [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE]
    assert found == sorted(found)
    assert found[-1] == PAUSE_MAX
    pauses.begun()
    clock.advance(STEADY)
    assert pauses.ended() == PAUSE


def test_all_are_started_and_only_what_has_ended_is_started_again(logged):
    it = World(3)
    assert it.begun == [1, 2, 3]
    assert it.supervisor.workers == {1: "worker 1", 2: "worker 2", 3: "worker 3"}
    it.end(2)
    assert (it.lost, sorted(it.supervisor.workers)) == ([2], [1, 3])
    it.clock.advance(PAUSE * 0.9)
    assert it.begun == [1, 2, 3]
    it.clock.advance(PAUSE * 0.2)
    assert it.begun == [1, 2, 3, 2]
    assert sorted(it.supervisor.workers) == [1, 2, 3]
    assert logged() == ["Worker 2 was killed by SIGKILL; it is started again in 0.25 s"]


def test_one_that_does_not_last_is_started_ever_less_often_and_the_others_are_left_alone():
    it = World()
    for _ in range(3600):
        it.clock.advance(1)
        if 2 in it.supervisor.workers:
            it.end(2, "ended with status 1")
    assert it.begun.count(1) == 1
    assert 100 < it.begun.count(2) < 140  # each 31 s, once the pause is the longest


def test_what_cannot_be_started_is_tried_again(logged):
    it = World()
    it.error = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    it.end(1)
    it.clock.advance(PAUSE)
    assert sorted(it.supervisor.workers) == [2]
    assert logged()[-1] == "Worker 1 cannot be started: Resource temporarily unavailable; it is started again in 0.5 s"
    it.error = None
    it.clock.advance(2 * PAUSE)
    assert sorted(it.supervisor.workers) == [1, 2]


def test_leaving_starts_nothing_again_and_waits_for_the_last(logged):
    it = World(3)
    it.end(1)
    left = []
    it.supervisor.leave().addCallback(left.append)
    it.end(2)
    it.clock.advance(2 * PAUSE_MAX)
    assert (it.begun, left) == ([1, 2, 3], [])
    it.end(3)
    assert (left, it.lost) == ([None], [1, 2, 3])
    assert len(logged()) == 1
    assert not it.clock.getDelayedCalls()


def test_leaving_is_over_at_once_where_none_lives():
    it = World(1)
    it.end(1)
    left = []
    it.supervisor.leave().addCallback(left.append)
    assert left == [None]
