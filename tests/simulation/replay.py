"""One random world again: ``python tests/simulation/world.py SEED [--without event:2,stream:3,option:mtu]``.

Prints its plan, and what became of it.  What can be left out is listed in leavingout.py; ``--shrink`` finds by itself what
can, where the world fails.
"""

from __future__ import annotations

import argparse

from leavingout import parts
from worldkinds import played, shrunk

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0 where every promise was kept."""
    parser = argparse.ArgumentParser("world.py", description="Replay one random world.")
    parser.add_argument("seed", type=int)
    parser.add_argument("--without", default="", help="what to leave out, joined by commas")
    parser.add_argument("--shrink", action="store_true", help="leave out as much as still fails in the same way")
    options = parser.parse_args(arguments)
    ending = played(options.seed, [part for part in options.without.split(",") if part])
    if ending.kind and options.shrink:
        ending = shrunk(ending)
    if ending.kind:
        print(f"{ending.kind}\n{ending.text}")
        return 1
    world = ending.world
    print(f"{world}\nparts: {' '.join(parts(world))}")
    print(f"{world.clock.seconds():.1f} virtual seconds, {world.clock.steps} steps; every promise kept")
    return 0
