"""What kind of failure a random world ended with, and the smallest plan that still ends with the same.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from signal import ITIMER_PROF, SIGPROF, setitimer, signal
from typing import Any, NamedTuple

from eventfulworld import EventfulWorld
from invariants import Broken
from leavingout import parts

__all__ = ["CPU_LIMIT", "Ending", "played", "shrunk", "smallest"]

CPU_LIMIT = 60.0  # s of one processor for one world; the slowest need some seconds
SHRINKING_TIME = 120.0  # s for one failure
SHRINKING_TRIES = 400  # worlds


class Ending(NamedTuple):
    """How a world ended: ``kind`` is empty where every promise was kept."""

    world: Any
    kind: str = ""
    text: str = ""


class _TooLong(BaseException):
    """No ``except Exception`` of the code under test takes it."""


def played(seed: int, without: Iterable[str] = (), limit: float = CPU_LIMIT) -> Ending:
    """Play one, for so many seconds of a processor: a loop that never ends is a failure like others."""
    world: Any = None
    before = signal(SIGPROF, _interrupted)
    setitimer(ITIMER_PROF, limit)
    try:
        world = EventfulWorld(seed, without=without)
        world.run()
        return Ending(world)
    except _TooLong:
        return Ending(world, "it hangs", f"no end after {limit:.0f} s of a processor\n{world}")
    except Exception as error:  # noqa: BLE001 - whatever it is
        return Ending(world, _kindOf(world, error), str(error))
    finally:
        setitimer(ITIMER_PROF, 0)
        signal(SIGPROF, before)


def _interrupted(*facts: Any) -> None:
    raise _TooLong


def _kindOf(world: Any, error: BaseException) -> str:
    """The promise that was broken, or where what came first was raised."""
    if world is not None and world.raised:
        first = world.raised[0]
        return _raisedAt(first.value, first.getTracebackObject())
    error = error.__cause__ or error
    return _raisedAt(error, error.__traceback__)


def _raisedAt(error: Any, where: Any) -> str:
    if isinstance(error, Broken):
        return error.promise
    frames = traceback.extract_tb(where) if where is not None else []
    place = f" in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{place}"


def shrunk(ending: Ending, seconds: float = SHRINKING_TIME) -> Ending:
    """The same kind of failure, with as much as possible left out of its plan within that time."""
    seed, deadline = ending.world.seed, time.monotonic() + seconds

    def fails(without: list[str]) -> bool:
        return played(seed, without).kind == ending.kind

    left = smallest(parts(ending.world), fails, SHRINKING_TRIES, lambda: time.monotonic() < deadline)
    return played(seed, left) if left else ending


def smallest(
    names: list[str], fails: Callable[[list[str]], bool], tries: int, goesOn: Callable[[], bool] = lambda: True
) -> list[str]:
    """As many of ``names`` as can be left out together while ``fails(those)``: halves first, then ever smaller
    pieces, until no single one can be left out any more, or ``tries`` or ``goesOn`` have ended."""
    left: list[str] = []
    kept = list(names)
    size = len(kept)
    while size and tries > 0 and goesOn():
        found = False
        start = 0
        while start < len(kept) and tries > 0 and goesOn():
            piece = kept[start : start + size]
            tries -= 1
            if fails([*left, *piece]):
                left += piece
                del kept[start : start + size]
                found = True
            else:
                start += size
        if size > 1:
            size = -(-size // 2)
        elif not found:
            break
    return left
