"""Runs tshark with our dissectors, for tests of traces.  Where it is missing they fail."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kcpstack.testing.tracing import DISSECTORS

MINUTE = 60
SEPARATOR = "\t"


def tshark(path: Path, *arguments: str, dissectors: Path = DISSECTORS) -> str:
    """What tshark prints of a file.  Raises AssertionError where it fails, or an error of Lua's shows."""
    command = ["tshark", "-X", f"lua_script:{dissectors}", "-n", "-r", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=2 * MINUTE)
    assert done.returncode == 0, done.stderr
    assert "Lua Error" not in done.stdout + done.stderr, done.stdout + done.stderr
    return done.stdout


def rows(path: Path, *fields: str, show: str = "", arguments: tuple[str, ...] = ()) -> list[list[list[str]]]:
    """The values of fields in each packet, as many as it has of each.  ``show`` is a display filter.

    An error in a dissector is an expert's message that nothing else shows: it is asked for as well."""
    wanted = [word for field in (*fields, "_ws.expert.message") for word in ("-e", field)]
    shown = ("-Y", show) if show else ()
    layout = ("-T", "fields", "-E", f"separator={SEPARATOR}", "-E", "occurrence=a", "-E", "aggregator=,")
    lines = tshark(path, *arguments, *shown, *layout, *wanted).splitlines()
    cells = [line.split(SEPARATOR)[: len(fields)] for line in lines]
    return [[cell.split(",") if cell else [] for cell in row] for row in cells]


def numbers(row: list[list[str]]) -> list[list[int]]:
    """Values as ints, whether tshark shows them in decimal or hexadecimal."""
    return [[int(value, 0) for value in cell] for cell in row]
