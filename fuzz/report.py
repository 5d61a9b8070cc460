"""The table of a folder's runs, made from its logs: ``python -m fuzz.report [--folder .fuzz] [--write F]``.

Of a target with several logs, runs, seconds and findings are summed, and the rest is of the last.  Seconds
are those of a processor.  docs/fuzz-your-layer.rst includes what this writes.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz.targets import TARGETS

__all__ = ["Run", "readLog", "table"]

CHECKOUT = Path(__file__).resolve().parents[1]
BEGUN = re.compile(r"^begun: (\S+) (\S+) UTC")
PROGRESS = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)", re.MULTILINE)
DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
TAKEN = re.compile(r"^processor: (\d+) s", re.MULTILINE)
FINDING = re.compile(r"Test unit written to (\S+)")


class Run(NamedTuple):
    """What the logs of one target say."""

    date: str
    clock: int  # seconds from beginning to end, where it came to its end
    seconds: int  # of a processor
    executions: int
    edges: int
    features: int
    corpus: str
    findings: int


def readLog(text: str) -> Run:
    """What one log says.  Raises ValueError where a run has left nothing to report."""
    begun, steps, taken = BEGUN.match(text), list(PROGRESS.finditer(text)), TAKEN.search(text)
    if begun is None or not steps or taken is None:
        raise ValueError("this run has not ended, or ended before its first input")
    last, done, findings = steps[-1], DONE.search(text), len(FINDING.findall(text))
    executions, clock = (int(done[1]), int(done[2])) if done else (int(last[1]), 0)
    corpus = f"{last[5]} ({last[6]})"
    return Run(begun[1], clock, int(taken[1]), executions, int(last[3]), int(last[4]), corpus, findings)


def table(runs: dict[str, Run]) -> Iterator[str]:
    """The table in reStructuredText, and a sentence that says when, how long and on what."""
    dates = sorted({run.date for run in runs.values()})
    minutes, byTheClock = (
        sum(each) / 60 for each in zip(*((run.seconds, run.clock) for run in runs.values()))
    )
    machine = f"CPython {platform.python_version()} on {platform.machine()}"
    yield f"Of {' and '.join(dates)}: {len(runs)} targets, one process at a time at a low priority,"
    yield f"{byTheClock:.0f} minutes by the clock, {minutes:.0f} of a processor that others wanted as well; {machine}."
    yield from ("", ".. list-table::", "   :header-rows: 1", "   :widths: 14 34 10 8 8 8 8 12 8", "")
    head = [
        "Target",
        "What it reads",
        "Runs",
        "CPU seconds",
        "Runs/s",
        "Edges",
        "Features",
        "Corpus",
        "Findings",
    ]
    rows = [head]
    for name, run in runs.items():
        rate = f"{run.executions / run.seconds:,.0f}" if run.seconds else "-"
        numbers = [
            f"{run.executions:,}",
            str(run.seconds),
            rate,
            str(run.edges),
            str(run.features),
            run.corpus,
        ]
        rows.append([f"``{name}``", TARGETS[name], *numbers, str(run.findings)])
    for row in rows:
        for column, cell in enumerate(row):
            yield f"   {'* -' if column == 0 else '  -'} {cell}"


def _readAll(folder: Path) -> dict[str, Run]:
    runs = {}
    for name in TARGETS:
        logs = sorted((folder / "logs").glob(f"{name}.*.log"), key=lambda path: path.stat().st_mtime)
        each: list[Run] = []
        for log in logs:
            try:
                each.append(readLog(log.read_text(errors="replace")))
            except ValueError as error:
                print(f"{log} is left out: {error}", file=sys.stderr)
        if each:
            sums = {
                field: sum(getattr(run, field) for run in each)
                for field in ("clock", "seconds", "executions", "findings")
            }
            days = " to ".join(sorted({run.date for run in each}))
            runs[name] = each[-1]._replace(date=days, **sums)
    return runs


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz.report", description=__doc__)
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".fuzz")
    parser.add_argument("--write", type=Path, help="the file to write, instead of printing")
    asked = parser.parse_args(arguments)
    text = "\n".join(table(_readAll(asked.folder))) + "\n"
    if asked.write is None:
        sys.stdout.write(text)
    else:
        asked.write.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
