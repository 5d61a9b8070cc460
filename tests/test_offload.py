"""GSO: which runs may go in one send, and what a refusal is taken for."""

from __future__ import annotations

import errno
import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from kcpstack.layers.offload import GSO_BYTES, GSO_SEGMENTS, REFUSAL_LASTS, REFUSALS_MAX, Segmentation, runEnd

HERE, ELSEWHERE = ("192.0.2.1", 40_000), ("192.0.2.2", 40_000)


class Probed:
    """A socket of a kernel that has GSO, or has not."""

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error
        self.probes = 0

    def getsockopt(self, level, option):
        self.probes += 1
        if self.error:
            raise self.error


def no(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def segmentation(clock: Clock | None = None) -> Segmentation:
    made = Segmentation(clock or Clock())
    made.probe(Probed())
    return made


@given(st.lists(st.sampled_from([0, 1, 700, 1400, 1400, 1400, 1400, 60_000]), min_size=1, max_size=150))
def test_runsKeepTheKernelsBounds(sizes):
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    starts = [end - size for end, size in zip(ends, sizes)]
    index = 0
    while index < len(sizes):
        after = runEnd(starts, ends, index)
        run = sizes[index:after]
        assert 1 <= len(run) <= GSO_SEGMENTS and (sum(run) <= GSO_BYTES or len(run) == 1)
        assert set(run[:-1]) <= {run[0]} and (len(run) == 1 or 0 < run[-1] <= run[0])
        index = after
    assert index == len(sizes)


def test_theKernelIsProbedOnce():
    sock = Probed(no(errno.ENOPROTOOPT))
    without = Segmentation(Clock())
    without.probe(sock)
    without.probe(Probed())
    assert sock.probes == 1 and not without.allows(HERE, 100)


def test_aRefusalIsAboutOneHostAndDatagramsAsLongOrLonger():
    runs = segmentation()
    assert runs.refused(no(errno.EMSGSIZE), HERE, 1000)
    assert [runs.allows(HERE, size) for size in (999, 1000, 1400)] == [True, False, False]
    assert not runs.allows((HERE[0], 50_000), 1000)  # the same path
    assert runs.allows(ELSEWHERE, 1400)
    assert runs.refused(no(errno.EINVAL), HERE, 600)
    assert [runs.allows(HERE, size) for size in (599, 600, 999)] == [True, False, False]


def test_aRefusalOfTheOnePeerOfAConnectedSocketIsRememberedToo():
    runs = segmentation()
    runs.refused(no(errno.EMSGSIZE), None, 1000)
    assert [runs.allows(None, size) for size in (999, 1000)] == [True, False]


def test_aRefusalIsForgottenAfterAWhile():
    clock = Clock()
    runs = segmentation(clock)
    runs.refused(no(errno.EMSGSIZE), HERE, 1000)
    clock.advance(REFUSAL_LASTS - 1)
    assert not runs.allows(HERE, 1000)
    clock.advance(1)
    assert runs.allows(HERE, 1000)


def test_theHostsRememberedAreBoundedAndTheOldestForgotten():
    runs = segmentation()
    hosts = [(f"host{number}", 1) for number in range(REFUSALS_MAX + 1)]
    for host in hosts:
        runs.refused(no(errno.EMSGSIZE), host, 1000)
    assert [host for host in hosts if runs.allows(host, 1000)] == hosts[:1]


def test_aDeviceThatRefusesIsBelievedForGood():
    clock = Clock()
    runs = segmentation(clock)
    assert runs.refused(no(errno.EIO), HERE, 1000)
    clock.advance(REFUSAL_LASTS)
    runs.probe(Probed())
    assert not runs.allows(ELSEWHERE, 1)


def test_otherErrorsAreNoRefusals():
    runs = segmentation()
    assert not any(runs.refused(no(number), HERE, 1000) for number in (errno.ENOBUFS, errno.EPERM, errno.ENETUNREACH))
    assert runs.allows(HERE, 1000)
