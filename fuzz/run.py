"""Fuzzing with atheris: ``python -m fuzz.run TARGET... [--seconds N] [--folder .fuzz]``; ``all`` of them.

One process for each target, one after the other, at a low priority.  In the folder:

- ``corpus/TARGET``   seeds and what was found beside them; the next run begins where this one ended
- ``crashes/TARGET``  inputs that broke a promise, with what libFuzzer calls them
- ``logs/TARGET.N.log`` what libFuzzer said in the Nth run; ``python -m fuzz.report`` makes a table of them

The exit status is 1 where any target found something, or could not run to its end.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

from fuzz.targets import TARGETS

__all__ = ["libFuzzerArguments", "main", "verdict"]

CHECKOUT = Path(__file__).resolve().parents[1]
INSTRUMENTED = ["kcpstack"]
LENGTH_MAX = 8192  # bytes of an input; steps of a protocol, not bulk
UNIT_SECONDS = 10  # an input that takes longer is a finding
MEMORY = 1500  # MB of the process; more is a finding
NICENESS = 10
WRITTEN = (
    "Test unit written to"  # what libFuzzer says of an input that failed, took too long or too much memory
)
ONE = "--one"  # this process fuzzes: what comes after is its target, seconds and folder


def main(arguments: list[str]) -> int:
    if arguments[:1] == [ONE]:
        name, seconds, folder = arguments[1:]
        fuzz(name, int(seconds), Path(folder))  # ends the process
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description="Fuzz decoders with atheris.")
    parser.add_argument(
        "targets", nargs="+", choices=[*TARGETS, "all"], metavar="TARGET", help=", ".join([*TARGETS, "all"])
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument(
        "--folder", type=Path, default=CHECKOUT / ".fuzz", help="for corpora, findings and logs (.fuzz)"
    )
    asked = parser.parse_args(arguments)
    failed = [name for name in _named(asked.targets) if _ran(name, asked.seconds, asked.folder.resolve())]
    if failed:
        print(f"look at: {', '.join(failed)}; inputs that were found are in {asked.folder}/crashes")
    return int(bool(failed))


def _named(targets: list[str]) -> list[str]:
    return list(TARGETS) if "all" in targets else list(dict.fromkeys(targets))


def _ran(name: str, seconds: int, folder: Path) -> bool:
    """Fuzz one target in a process of its own; whether it failed."""
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{name}.{1 + len(list(logs.glob(f'{name}.*.log')))}.log"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "fuzz.run", ONE, name, str(seconds), str(folder)]
    with log.open("w+") as written:
        print(
            f"begun: {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, for {seconds} s",
            file=written,
            flush=True,
        )
        before = _processorSeconds()
        done = subprocess.run(
            command, cwd=CHECKOUT, env=environment, stdout=written, stderr=written, check=False
        )
        written.seek(0, os.SEEK_END)
        print(f"\nprocessor: {_processorSeconds() - before:.0f} s", file=written)
        written.seek(0)
        print(f"{name}: {verdict(done.returncode, written.read())} ({log})", flush=True)
    return done.returncode != 0


def verdict(status: int, said: str) -> str:
    """How a run ended, from its exit status and its log: not all that fails has found something."""
    if WRITTEN in said:
        return "found something"
    if status:
        return "did not run to its end, and found nothing"
    return "nothing found"


def _processorSeconds() -> float:
    """What the processes that have ended took of a processor: on a busy machine, less than the clock says."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Fuzz in this process, and end it."""
    os.nice(NICENESS)
    try:
        import atheris
    except ImportError:
        sys.exit("atheris is missing: pip install '.[fuzz]' (it has wheels for some Pythons only)")
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.corpus import writeSeeds
        from fuzz.targets import load

        target = load(name)
    _forgetLogs()
    writeSeeds(name, target, folder / "corpus" / name)
    (folder / "crashes" / name).mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], *libFuzzerArguments(name, seconds, folder)], target.check)
    atheris.Fuzz()


def libFuzzerArguments(name: str, seconds: int, folder: Path) -> list[str]:
    """The options that a target is run with, and its corpus."""
    return [
        f"-max_total_time={seconds}",
        f"-max_len={LENGTH_MAX}",
        f"-timeout={UNIT_SECONDS}",
        f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={folder}/crashes/{name}/",
        "-print_final_stats=1",
        str(folder / "corpus" / name),
    ]


def _forgetLogs() -> None:
    """Twisted keeps what is logged until somebody wants it, which nobody does here."""
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
