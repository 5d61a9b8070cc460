"""Random worlds: whatever the options, the network, the applications and what happens, bytes arrive once and in order, and
who is told that all is well is told the truth.

The promises are in worldapplications.py and eventfulworld.py; docs/testing.rst lists them."""

from __future__ import annotations

import os
import random
import time

import pytest
from eventfulworld import EventfulWorld
from plannedworld import EVENTS
from world import CIPHERS, OTHER_CIPHERS, SLOW_CIPHERS, World
from worldkinds import played, shrunk

from kcpstack.ciphers import cipherNames

WORLDS = 180  # the same each time
NEW_WORLDS = 200  # of which no run has seen any
CHUNK = 20  # worlds in one test, so that a run spreads over workers without a thousand lines
SHRINKING_TIME = 30.0  # s; who wants a smaller one has the command


def firstNew() -> int:
    """A seed for this run: KCPSTACK_SEED, or else what the workers of one run have in common, or else the time."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or time.time()
    return int(os.environ.get("KCPSTACK_SEED") or random.Random(run).randrange(10**6, 10**9))


FIRST_NEW = firstNew()


@pytest.mark.parametrize("first", range(0, WORLDS, CHUNK))
def test_everyPromiseIsKeptInEveryWorld(first):
    for seed in range(first, first + CHUNK):
        EventfulWorld(seed).run()


@pytest.mark.parametrize("first", range(0, NEW_WORLDS, CHUNK))
def test_everyPromiseIsKeptInWorldsThatNobodyHasSeen(first):
    for seed in range(FIRST_NEW + first, FIRST_NEW + first + CHUNK):
        ending = played(seed)
        if ending.kind:
            small = shrunk(ending, SHRINKING_TIME).world.command
            pytest.fail(f"{ending.kind}, in one of the new worlds from KCPSTACK_SEED={FIRST_NEW} on\n{small}\n{ending.text}")


def test_theseWorldsHaveInThemAllThatThereIs():
    worlds = [EventfulWorld(seed) for seed in range(WORLDS)]
    assert {*CIPHERS, *OTHER_CIPHERS, *SLOW_CIPHERS} == set(cipherNames())
    assert {world.clientSettings.crypt for world in worlds} == set(cipherNames())
    assert {event.name for world in worlds for event in world.events} == set(EVENTS)
    assert {len(world.ports) for world in worlds} == {1, 2, 4}
    assert 0.25 < sum(world.mayLose for world in worlds) / WORLDS < 0.75


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_aWorldIsTheSameEachTimeItIsPlayed(seed):
    traces = []
    for _ in range(2):
        world = EventfulWorld(seed, faults={"loss": 0.05, "reorder": 0.05, "delay": 20.0})
        world.run()
        counters = [life.counters.asDict() for life in world.lives]
        traces.append((list(world.network.trace), counters, world.clock.seconds()))
    assert traces[0] == traces[1]


@pytest.mark.parametrize("server", [(0, 0), (10, 3), (5, 2)])
@pytest.mark.parametrize("client", [(0, 0), (10, 3), (5, 2), (20, 10), (2, 2)])
def test_anyFECOnEitherEndIsUnderstood(client, server):
    world = World(11, fixed={"mtu": 576}, faults={"loss": 0.05, "delay": 20.0, "corrupt": 0.0})
    world.wanted = 12
    for settings, shards in ((world.clientSettings, client), (world.serverSettings, server)):
        object.__setattr__(settings, "datashard", shards[0])
        object.__setattr__(settings, "parityshard", shards[1])
    world.run()
    if 0 not in client:
        assert world.serverCounters.FECParityShards > 0


def test_FECRebuildsWhatIsLostOnceTheParametersAreKnown():
    world = World(12, fixed={"datashard": 10, "parityshard": 3, "mtu": 576}, faults={"loss": 0.05, "delay": 20.0})
    world.wanted = 12
    world.run()
    assert world.serverCounters.FECRecovered > 0
    assert world.clientCounters.FECRecovered > 0  # the server answers with the client's parameters


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("nocomp", [True, False])
def test_theServerFollowsTheClientsVersionAndCompression(version, nocomp):
    world = World(13)
    object.__setattr__(world.clientSettings, "smuxver", version)
    object.__setattr__(world.clientSettings, "nocomp", nocomp)
    object.__setattr__(world.serverSettings, "smuxver", 3 - version)
    object.__setattr__(world.serverSettings, "nocomp", not nocomp)
    world.run()
