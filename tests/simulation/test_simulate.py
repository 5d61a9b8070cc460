"""`make simulate`: a failure becomes small, and a command that shows it again; nobody waits for ever."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import simulate
import worldkinds
from eventfulworld import EventfulWorld
from leavingout import SINGLE, leaveOut, parts
from openarq import OpenARQ
from replay import main
from world import World
from worldkinds import played, shrunk, smallest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("needed", [[], ["c"], ["a", "h"], ["b", "c", "g"], list("abcdefgh")])
def test_allIsLeftOutThatIsNotNeeded(needed):
    left = smallest(list("abcdefgh"), lambda without: not set(needed) & set(without), 100)
    assert sorted([*left, *needed]) == list("abcdefgh")


def test_shrinkingIsBounded():
    tries = []
    smallest([str(number) for number in range(1000)], lambda without: bool(tries.append(1)), 50)
    assert len(tries) == 50
    assert smallest(list("abc"), lambda without: True, 100, lambda: False) == []


def plan(seed: int, without=()) -> dict:
    world = EventfulWorld(seed, without=without)
    return {
        **{f"event:{number}": event for number, event in enumerate(world.events)},
        **{f"stream:{stream}": at for stream, at in world.opens.items()},
        **{f"fault:{name}": value for name, value in world.faults.items() if value},
        "client": world.clientSettings,
        "server": world.serverSettings,
        "farewells": world.farewells,
        "ports": world.ports,
    }


@pytest.mark.parametrize("seed", range(5, 12))
def test_leavingOneThingOutChangesNoOther(seed):
    whole = plan(seed)
    last = sum(name.startswith("event:") for name in whole) - 1
    for part in parts(EventfulWorld(seed)):
        if part in whole and part != "ports" and (not part.startswith("event:") or part == f"event:{last}"):
            rest = plan(seed, [part])
            assert rest == {name: value for name, value in whole.items() if name != part}


def test_anApplicationIsTheSameWhoeverElseThereIs():
    seed = next(seed for seed in range(100) if len(EventfulWorld(seed).opens) == 5)
    worlds = [EventfulWorld(seed), EventfulWorld(seed, without=["stream:0", "stream:1", "stream:4"])]
    for world in worlds:
        world.run()
    many, few = ({(a.end, a.number): (a.whole, a.manner, a.pieces) for a in world.applications} for world in worlds)
    assert few and set(few.items()) <= set(many.items())


@pytest.mark.parametrize("seed", range(20, 26))
def test_withoutAllItsPartsAWorldIsPlain(seed):
    without = parts(EventfulWorld(seed))
    world = EventfulWorld(seed, without=without)
    assert not world.events and not world.opens and not any(world.faults.values())
    world.run()


def test_whatIsNotThereCannotBeLeftOut():
    with pytest.raises(ValueError, match="weather"):
        leaveOut(EventfulWorld(1), ["weather"])
    assert set(SINGLE) == {"ports", "rudeness", "resolving", "starting", "refusals", "relays", "high-numbers", "weight"}


@pytest.fixture
def anOpenWindow(monkeypatch):
    """Once something was lost, one segment more is sent than the windows allow."""
    room = OpenARQ._sendRoom
    monkeypatch.setattr(OpenARQ, "_sendRoom", lambda arq: room(arq) + (1 if arq._counters.RetransSegs else 0))


def test_aPlantedBugIsFoundAndItsWorldBecomesSmall(anOpenWindow):
    found = next(ending for ending in map(played, range(50)) if ending.kind)
    assert found.kind == "inFlightFitsTheWindows"
    small = shrunk(found, seconds=20)
    assert small.kind == found.kind
    assert len(small.world.without) > len(parts(found.world)) // 2
    assert len(small.world.opens) <= 1
    assert f" tests/simulation/world.py {found.world.seed} --without " in small.world.command


def test_aWorldThatNeverEndsIsAFailure(monkeypatch):
    monkeypatch.setattr(World, "settle", lambda world: [None for each in iter(int, 1)])
    assert played(3, limit=1.0).kind == "it hangs"


def test_theKindOfAFailureIsWhereItWasRaised(monkeypatch):
    def broken(world):
        raise KeyError("planted")

    monkeypatch.setattr(World, "settle", broken)
    assert played(3).kind.startswith("KeyError in broken (test_simulate.py:")


def test_theReplayCommandWorksAtTheRootOfACheckout():
    world = EventfulWorld(7, without=["fault:loss", "option:mtu"])
    command = shlex.split(world.command)
    assert (ROOT / command[0]).samefile(sys.executable)
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "every promise kept" in run.stdout and world.command in run.stdout


def test_aReplayThatFailsSaysSo(anOpenWindow, capsys):
    seed = next(ending.world.seed for ending in map(played, range(50)) if ending.kind)
    assert main([str(seed)]) == 1
    assert capsys.readouterr().out.startswith("inFlightFitsTheWindows\n")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_aRunSaysWhatItPlayed(capsys, jobs):
    assert simulate.main(["--seeds", "4", "--from", "30", "--jobs", jobs]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 worlds, 0 failed" in said and "Every promise was kept." in said
    assert all(heading in said for heading in ("crypt ", "mtu ", "FEC ", "faults ", "events ", "happened "))


def test_aRunThatFailsPrintsACommandForEachKind(anOpenWindow, capsys, monkeypatch):
    monkeypatch.setattr(worldkinds, "SHRINKING_TRIES", 10)
    seed = next(ending.world.seed for ending in map(played, range(50)) if ending.kind)
    assert simulate.main(["--seeds", "1", "--from", str(seed), "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert said.count("FAILED: inFlightFitsTheWindows") == 1
    assert f"tests/simulation/world.py {seed} --without" in said
