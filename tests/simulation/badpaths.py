"""Paths that are bad, and nothing else: a fifth lost in each direction, jitter, cuts of up to 2.5 s.

``badPath(seed)`` is one, with two ends on it that have something to say now and then; no fault may be found in it.
``python tests/simulation/badpaths.py 0 1000`` plays a thousand seeds and prints what was found; a third number is the
loss, in percent.
"""

from __future__ import annotations

import random
import sys

from conversations import Ends

from kcpstack.kernels.pathcheck import PathCheck

__all__ = ["SECONDS", "badPath"]

SECONDS = 40  # of virtual time, for which there are cuts and traffic


def badPath(seed: int, loss: float = 0.2) -> Ends:
    """All is scheduled: let it run for SECONDS."""
    rng = random.Random(f"bad path {seed}")
    shards = rng.choice(((0, 0), (0, 0), (10, 3), (3, 2)))
    faults = {
        "loss": loss,
        "delay": rng.choice((1.0, 20.0, 80.0, 150.0, 300.0)),
        "jitter": rng.choice((0.0, 10.0, 30.0)),
        "reorder": rng.choice((0.0, 0.05)),
        "duplicate": rng.choice((0.0, 0.03)),
    }
    ends = Ends(
        seed,
        faults,
        mode=rng.choice(("normal", "fast", "fast2", "fast3", "default")),
        mtu=rng.choice((600, 1350, 1400, 1500)),
        sndwnd=rng.choice((8, 32, 128)),
        rcvwnd=rng.choice((32, 128)),
        datashard=shards[0],
        parityshard=shards[1],
        nocomp=True,
    )
    ends.meet()
    _scheduleCuts(ends, rng)
    _scheduleTraffic(ends, rng)
    return ends


def _scheduleCuts(ends: Ends, rng: random.Random) -> None:
    at = 0.0
    while at < SECONDS:
        at += rng.uniform(3, 10)
        paths = rng.choice(((ends.up,), (ends.down,), (ends.up, ends.down)))
        until = at + rng.uniform(0.2, 2.5)
        for path in paths:
            ends.clock.callLater(at, path.configure, cut=True)
            ends.clock.callLater(until, path.configure, cut=False)
        at = until


def _scheduleTraffic(ends: Ends, rng: random.Random) -> None:
    pause = rng.choice((0.05, 0.3, 1, 4))
    ends.server.answers = rng.choice((0, 0, 1))
    at = 0.0
    while at < SECONDS:
        end = rng.choice((ends.client, ends.server))
        ends.clock.callLater(at, end.write, rng.choice((10, 100, 700, 1300, 1300, 5000, 500 if pause < 0.2 else 30_000)))
        at += rng.expovariate(1 / pause)


def main(first: int, last: int, loss: float = 20) -> None:
    """Play the seeds from ``first`` to below ``last``."""
    begun, found = 0, 0
    begin = PathCheck._begin

    def counted(check: PathCheck, now: float, headroom: int) -> None:
        nonlocal begun
        begun += 1
        begin(check, now, headroom)

    PathCheck._begin = counted  # type: ignore[method-assign]
    for seed in range(first, last):
        ends = badPath(seed, loss / 100)
        ends.run(SECONDS)
        for end in (ends.client, ends.server):
            found += len(end.faults)
            for at, fault in end.faults:
                print(f"seed {seed}, after {at:.1f} s: {fault}")
    minutes = (last - first) * SECONDS / 60
    print(f"{last - first} paths, {minutes:.0f} minutes, {begun} checks begun, {found} faults found")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
