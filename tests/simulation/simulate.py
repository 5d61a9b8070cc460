"""Play many random worlds: ``make simulate SEEDS=10000 FROM=0 JOBS=2``.

Prints how far it is, what the worlds had in them, and for each kind of failure one seed, shrunk, as a command that replays
it.  The exit status is 0 only where every promise was kept in every world.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from worldkinds import played, shrunk
from worldsummary import Summary, featuresOf, sumsOf

__all__ = ["Result", "main", "results"]

AT_ONCE = 4  # worlds given to a process together
LINES_EVERY = 10.0  # s
SHRUNK_MOST = 5  # kinds of failure; more would take longer than anybody waits


class Result(NamedTuple):
    """What a process says of one world."""

    seed: int
    kind: str
    text: str
    facts: Any  # for the summary; None where the world could not even be made


def resultOf(seed: int) -> Result:
    """Play one."""
    ending = played(seed)
    world = ending.world
    facts = None
    if world is not None:
        facts = featuresOf(world), world.clock.seconds(), world.clock.steps, sumsOf(world)
    return Result(seed, ending.kind, ending.text, facts)


def results(seeds: Iterable[int], jobs: int) -> Iterator[Result]:
    """Of all these worlds, in the order in which they are over."""
    if jobs == 1:
        yield from map(resultOf, seeds)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(resultOf, seeds, AT_ONCE)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser("simulate.py", description="Play many random worlds.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes")
    options = parser.parse_args(arguments)
    summary, failures = Summary(), defaultdict(list)
    began = said = time.monotonic()
    for result in results(range(options.first, options.first + options.seeds), options.jobs):
        if result.facts is not None:
            summary.add(*result.facts)
        if result.kind:
            failures[result.kind].append(result.seed)
            print(f"seed {result.seed}: {result.text.partition(chr(10))[0]}", flush=True)
        now = time.monotonic()
        if now - said >= LINES_EVERY:
            said = now
            print(_progress(summary.worlds, options.seeds, now - began, failures), flush=True)
    print(_progress(summary.worlds, options.seeds, time.monotonic() - began, failures))
    print("\n".join(("", *summary.lines(), "")), flush=True)
    for kind, seeds in list(failures.items())[:SHRUNK_MOST]:
        _sayFailure(kind, seeds)
    print("\n".join(f"{kind}: {_many(seeds)}" for kind, seeds in failures.items()) or "Every promise was kept.")
    return 1 if failures else 0


def _progress(done: int, wanted: int, seconds: float, failures: dict[str, list[int]]) -> str:
    failed = sum(map(len, failures.values()))
    return f"{done:,} of {wanted:,} worlds, {failed} failed, {done / max(seconds, 0.001):.1f} worlds/s, {seconds:.0f} s"


def _sayFailure(kind: str, seeds: list[int]) -> None:
    """Shrink the first of a kind and say how to see it again."""
    small = shrunk(played(min(seeds)))
    print(f"FAILED: {kind}\n    {small.text.partition(chr(10))[0]}\n    {small.world.command}\n", flush=True)


def _many(seeds: list[int]) -> str:
    few = " ".join(map(str, sorted(seeds)[:10]))
    return f"{len(seeds)} of the seeds: {few}" + (" ..." if len(seeds) > 10 else "")


if __name__ == "__main__":
    sys.exit(main())
