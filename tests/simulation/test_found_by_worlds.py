"""What random worlds have found (eventfulworld.py), each as small as it could be made."""

from __future__ import annotations

import pytest
from test_pathcheck import Scripted, carriesUpTo, nothing, segment

from kcpstack.kernels.pathcheck import Verdict
from kcpstack.kernels.segment import PUSH


@pytest.mark.parametrize("seconds", [3, 7, 8, 9, 10, 12, 20, 29])
def test_afterACutOfBothDirectionsNobodySaysThatOneIsDead(seconds):
    """What was asked while nobody was heard tells nothing of the direction, and the next question was far away."""
    it = Scripted(nothing)
    it.arq.write(b"x")
    it.arriving = [(0.0, segment(PUSH))]
    it.run(seconds)
    it.answer = carriesUpTo(1500)
    it.arriving = [(it.now + late, segment(PUSH, ts=late)) for late in range(0, 200, 20)]  # what was not acknowledged
    assert it.run(20) == []


@pytest.mark.parametrize("seconds", [3, 4, 5, 5.5])
def test_aPeerThatEndsRightAfterACutIsNotCalledDeaf(seconds):
    """It was heard, and most questions went unanswered, but none that it could have heard."""
    it = Scripted(nothing)
    it.arq.write(b"x")
    it.arriving = [(0.0, segment(PUSH))]
    it.run(seconds + 1)  # the check begins in the second second
    it.arriving = [(it.now + late, segment(PUSH, ts=late)) for late in range(0, 200, 20)]
    assert it.run(40) == []


def test_aDirectionThatIsDeadAfterACutOfBothIsFoundNevertheless():
    it = Scripted(nothing)
    it.arq.write(b"x")
    it.arriving = [(0.0, segment(PUSH))]
    it.run(10)
    it.arriving = [(it.now + late, segment(PUSH, ts=late)) for late in range(0, 10_000, 300)]
    (fault,) = it.run(10)
    assert fault.verdict is Verdict.DEAF
    assert 6 <= fault.seconds < 8
