"""The page "Read a trace": its commands print what it says, its filters work, its places are all there are."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tshark import rows
from twisted.internet.task import Clock

from kcpstack.testing.tracedlayers import ADAPTERS
from kcpstack.testing.tracing import openTrace

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "read-a-trace.rst").read_text()
sys.path.append(str(CHECKOUT / "examples"))

import trace_layer
import trace_simulation

FILTERS = re.findall(r"^   \* - ``([a-z]+\..*)``$", PAGE, re.MULTILINE)
MINUTE = 60


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Traces in which there is something for every filter."""
    directory = tmp_path_factory.mktemp("traces")
    with open(directory / "lossy.pcapng", "wb") as file:
        trace_simulation.record(file, loss=0.08, rcvwnd=32, sndwnd=32)
    with open(directory / "cut.pcapng", "wb") as file:
        trace_simulation.record(file, packetLimit=150)
    bad = openTrace(str(directory / "bad.pcapng"), Clock())
    bad.place("opened", "kcptun").saw(b"no segment")
    bad.place("stream", "kcptun.stream").saw(bytes(12) + b"GET / HTTP/1.1")
    bad.close()
    return {path.stem: path for path in directory.iterdir()}


def test_the_page_has_filters() -> None:
    assert len(FILTERS) > 12


@pytest.mark.parametrize("shown", FILTERS)
def test_a_filter_of_the_page_finds_something(everything: dict[str, Path], shown: str) -> None:
    shown = re.sub(r"0x[0-9a-f]{8}", lambda found: convOf(everything["lossy"]), shown)
    assert any(rows(path, "frame.number", show=shown) for path in everything.values())


def convOf(path: Path) -> str:
    ((conv, *_),) = rows(path, "kcptun.kcp.conv", show="kcptun.kcp.sn == 0")[0]
    return conv


def test_every_place_that_the_page_names_is_one_and_none_is_missing() -> None:
    named = set(re.findall(r"^   \* - ``([a-z]+)``$", PAGE, re.MULTILINE))
    assert named == {place for _, _, place, _ in ADAPTERS} | {"smux"}


def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(CHECKOUT / "examples")
    blocks = re.findall(r"\.\. code-block:: console\n\n((?:    .*\n|\n)+)", PAGE)
    session = [line[4:] for block in blocks for line in block.rstrip().splitlines()]
    script = "".join(f"{line[2:]}\n" if line.startswith("$ ") else "" for line in session)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        check=False,
        text=True,
        timeout=2 * MINUTE,
    )
    assert done.returncode == 0, done.stderr
    printed = [line.replace("\t", "  ") for line in done.stdout.splitlines()]
    assert printed == [line for line in session if not line.startswith("$ ")], html.unescape(done.stdout)


def test_the_example_of_one_layer_shows_its_calls_and_its_conversation(tmp_path: Path) -> None:
    path = tmp_path / "layer.pcapng"
    with open(path, "wb") as file:
        trace_layer.record(file)
    assert [(place, info) for (place,), (info, *_) in rows(path, "frame.interface_name", "_ws.col.Info")] == [
        ("erasure", "encode 2/1"),
        ("erasure", "reconstruct 2/1"),
        ("http", "GET / HTTP/1.1 "),
        ("http", "HTTP/1.1 204 No Content "),
    ]
