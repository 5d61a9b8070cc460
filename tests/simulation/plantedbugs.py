"""How good the net is: bugs planted one by one in a copy of the checkout, and what catches each.

``python tests/simulation/plantedbugs.py`` copies the checkout for each bug, plants it, plays random worlds until one fails,
and runs the unit tests of the layer; it prints a line for each, and exits with 1 where fewer than nine of ten were caught by
either.  A world that fails without the bug as well does not count.  ``--worlds`` is how many worlds may be played for each, ``--only WORDS`` picks bugs by their names.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["BUGS", "Bug", "main", "plant"]

CHECKOUT = Path(__file__).resolve().parents[2]


class Bug(NamedTuple):
    """``wrong`` in place of ``right``, which stands in ``file`` once; ``tests`` are the unit tests that should see it."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


ARQ_TESTS = "tests/test_arq.py tests/test_kcp.py"
FEC_TESTS = "tests/test_fec.py tests/test_fec_layout.py tests/test_fec_vectors.py"
SMUX_TESTS = "tests/test_smux.py tests/test_smux_streams.py tests/test_smux_windows.py tests/test_smux_random.py tests/test_smux_leaving.py"
RELAY_TESTS = "tests/test_relay.py"

BUGS = (
    Bug(
        "ARQ: sends one segment more than the window",
        "kcpstack/kernels/arq.py",
        "return self._una + window - self._nxt",
        "return self._una + window - self._nxt + 1",
        ARQ_TESTS,
    ),
    Bug(
        "ARQ: forgets the timer of a window probe",
        "kcpstack/kernels/arq.py",
        "if self._probeAt is not None and (due is None or self._probeAt < due):",
        "if self._probeAt is not None and due is not None and self._probeAt < due:",
        ARQ_TESTS,
    ),
    Bug(
        "ARQ: numbers of what arrives do not wrap",
        "kcpstack/kernels/reassembly.py",
        "        sn = nearest(wireSN, self.nxt)\n        if sn >= self.nxt + self._window or sn < 0:",
        "        sn = wireSN\n        if sn >= self.nxt + self._window or sn < 0:",
        ARQ_TESTS,
    ),
    Bug(
        "ARQ: keeps what it has delivered already",
        "kcpstack/kernels/reassembly.py",
        "if sn < self.nxt or (self.early and sn in self.early):",
        "if sn in self.early:",
        ARQ_TESTS,
    ),
    Bug(
        "KCP: a reader that resumes is not given what waits",
        "kcpstack/layers/kcp.py",
        "            self._paused = False\n            if self.arq.unread:\n                self._schedule.soon(self)",
        "            self._paused = False",
        ARQ_TESTS,
    ),
    Bug(
        "FEC: a group without parity takes no numbers for it",
        "kcpstack/layers/fec.py",
        "        self._next = (self._next + code.parityShards) % self._modulus\n        self._shards = []",
        "        if self._latest is None or now - self._latest < GROUP_GAP:\n"
        "            self._next = (self._next + code.parityShards) % self._modulus\n        self._shards = []",
        FEC_TESTS,
    ),
    Bug(
        "FEC: what is rebuilt is handed up although it had arrived",
        "kcpstack/layers/fec_groups.py",
        "        if group is not None and not group.done:",
        "        if group is not None:",
        FEC_TESTS,
    ),
    Bug(
        "FEC: what is rebuilt keeps its padding",
        "kcpstack/layers/fec_groups.py",
        "recovered.append(shard[SIZE_FIELD:size])",
        "recovered.append(shard[SIZE_FIELD:])",
        FEC_TESTS,
    ),
    Bug(
        "smux: a FIN with nothing queued is dropped",
        "kcpstack/layers/smux_stream.py",
        "            self._ending = True\n            self._sender.ready(self)\n\n    def abortConnection",
        "            self._ending = True\n            if self._output.length:\n                self._sender.ready(self)\n\n"
        "    def abortConnection",
        SMUX_TESTS,
    ),
    Bug(
        "smux: an update of the window wakes nobody",
        "kcpstack/layers/smux_stream.py",
        "            self._grace.reset(PEER_FIN_GRACE)\n        self._sender.ready(self)",
        "            self._grace.reset(PEER_FIN_GRACE)",
        SMUX_TESTS,
    ),
    Bug(
        "smux: what an ended stream had unread counts for ever",
        "kcpstack/layers/smux_stream.py",
        "        if self._unread.length:\n            self._session.unreadChanged(-self._unread.length)\n            self._unread.clear()",
        "        if self._unread.length:\n            self._unread.clear()",
        SMUX_TESTS,
    ),
    Bug(
        "relay: half-close waits for a producer that nobody unregisters",
        "kcpstack/layers/relay.py",
        "        other.transport.unregisterProducer()\n        other.transport.loseWriteConnection()",
        "        other.transport.loseWriteConnection()",
        RELAY_TESTS,
    ),
    Bug(
        "relay: a reset passes for an end",
        "kcpstack/layers/relay.py",
        "            self.whyOver = self.whyOver or reason.getErrorMessage()\n            transport.abortConnection()",
        "            self.whyOver = self.whyOver or reason.getErrorMessage()\n            transport.loseConnection()",
        RELAY_TESTS,
    ),
)

PLAYING = """
import os, sys
sys.path[:0] = ["tests/simulation", "tests", os.getcwd()]
import kcpstack
assert kcpstack.__file__.startswith(os.getcwd()), kcpstack.__file__
from worldkinds import played
first, count = map(int, sys.argv[1:])
for seed in range(first, first + count):
    ending = played(seed)
    if ending.kind:
        print(f"seed {seed}: {ending.kind}")
        sys.exit(1)
print(f"no world of {count}")
"""


def plant(bug: Bug, checkout: Path) -> None:
    """Put ``bug`` into a copy of ours.  Raises ValueError where it does not fit the code any more."""
    path = checkout / bug.file
    source = path.read_text()
    if source.count(bug.right) != 1:
        raise ValueError(f"{bug.name}: {bug.file} has {source.count(bug.right)} of what it is to replace")
    path.write_text(source.replace(bug.right, bug.wrong))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser("plantedbugs.py", description="Plant bugs and see what catches them.")
    parser.add_argument("--worlds", type=int, default=300, help="how many may be played for each bug")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--only", default="", help="bugs whose names have this in them")
    options = parser.parse_args(arguments)
    bugs = [bug for bug in BUGS if options.only in bug.name]
    bySimulation = byTests = 0
    for bug in bugs:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / "copy"
            shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "*.egg-info"))
            plant(bug, copy)
            seen, said = _played(copy, options.first, options.worlds)
            tested, failed = _run(copy, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *bug.tests.split())
        bySimulation += seen
        byTests += tested
        print(f"{bug.name}\n    simulation: {'CAUGHT' if seen else 'MISSED'}, {said}")
        print(f"    unit tests: {'CAUGHT' if tested else 'MISSED'}, {failed}  ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"of {len(bugs)} bugs the simulation caught {bySimulation}, the unit tests {byTests}")
    return 0 if min(bySimulation, byTests) >= 0.9 * len(bugs) else 1


def _played(copy: Path, first: int, count: int) -> tuple[bool, str]:
    """Whether a world failed that does not fail without the bug, and which."""
    end = first + count
    while first < end:
        failed, said = _run(copy, "-c", PLAYING, str(first), str(end - first))
        if not failed:
            break
        seed = int(said.partition(":")[0].split()[1])
        if not _run(CHECKOUT, "-c", PLAYING, str(seed), "1")[0]:
            return True, said
        first = seed + 1
    return False, f"no world of {count}"


def _run(copy: Path, *arguments: str) -> tuple[bool, str]:
    """Whether it failed, and its last line."""
    done = subprocess.run([sys.executable, *arguments], cwd=copy, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.strip()] or done.stderr.splitlines() or ["(no output)"]
    failed = [line for line in lines if line.startswith("FAILED")]
    return done.returncode != 0, (failed or lines[-1:])[0][:150]


if __name__ == "__main__":
    sys.exit(main())
