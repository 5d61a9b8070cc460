"""Writes the seeds of targets as files: ``python -m fuzz.corpus FOLDER [TARGET...]``, or of all.

Each target's go into a folder of its name, each seed into a file named after what is in it, so that what is
there already stays.  The inputs that once broke a promise (fuzz/crashes) are seeds as well.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.targets import TARGETS, load

__all__ = ["crashes", "writeSeeds"]

CRASHES = Path(__file__).parent / "crashes"


def crashes(name: str) -> list[Path]:
    """The files of a target's former findings."""
    return sorted(path for path in (CRASHES / name).glob("*") if path.is_file())


def writeSeeds(name: str, target: Any, folder: Path) -> None:
    """Make the corpus of a target to begin with, or add to it what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in _seeds(name, target):
        path = folder / f"seed-{hashlib.sha256(seed).hexdigest()[:16]}"
        if not path.exists():
            path.write_bytes(seed)


def _seeds(name: str, target: Any) -> Iterator[bytes]:
    yield from target.seeds()
    for path in crashes(name):
        yield path.read_bytes()


def main(arguments: list[str]) -> None:
    if not arguments:
        sys.exit("give a folder, then targets or none for all")
    for name in arguments[1:] or TARGETS:
        writeSeeds(name, load(name), Path(arguments[0]) / name)


if __name__ == "__main__":
    main(sys.argv[1:])
