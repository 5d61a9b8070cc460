"""The fuzz targets keep up with the code: each holds on its seeds, on former findings and on any bytes."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLE = Path(__file__).parent / "data" / "fuzz_your_layer"
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from fuzz import report, run
from fuzz.corpus import CRASHES, crashes, writeSeeds
from fuzz.records import record, records
from fuzz.targets import TARGETS, load

STEPS = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=12)
SEEDS_MAX = 12  # of each target; a run with atheris begins with all


def shaped(head: bytes, steps: list[tuple[int, bytes]]) -> bytes:
    return head + b"".join(record(op, argument) for op, argument in steps)


def spread(seeds: list[bytes]) -> list[bytes]:
    """Some of the seeds, of all kinds."""
    return seeds[:: -(-len(seeds) // SEEDS_MAX)]


@pytest.mark.parametrize("name", TARGETS)
def test_every_promise_holds_on_the_seeds(name: str) -> None:
    target = load(name)
    seeds = list(target.seeds())
    assert seeds
    for seed in spread(seeds):
        target.check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_every_promise_holds_on_any_bytes(name: str) -> None:
    target = load(name)

    @settings(max_examples=6 if name == "server" else 20, deadline=None, derandomize=True, database=None)
    @given(st.one_of(st.binary(max_size=300), st.builds(shaped, st.binary(min_size=6, max_size=6), STEPS)))
    def holds(data: bytes) -> None:
        target.check(data)

    holds()


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name in TARGETS for path in crashes(name)],
    ids=lambda value: getattr(value, "name", value),
)
def test_what_was_found_once_is_found_no_more(name: str, path: Path) -> None:
    load(name).check(path.read_bytes())


def test_every_folder_of_findings_belongs_to_a_target() -> None:
    assert {path.name for path in CRASHES.iterdir()} <= set(TARGETS)


def test_every_module_of_the_folder_is_in_the_table() -> None:
    modules = {path.stem for path in (CHECKOUT / "fuzz" / "targets").glob("[a-z]*.py")}
    assert modules == set(TARGETS)


def test_records_are_read_as_they_were_written() -> None:
    steps = [(0, b""), (255, b"abc"), (7, bytes(300))]
    assert list(records(shaped(b"", steps))) == steps
    assert list(records(b"\1\xff\xffcut")) == [(1, b"cut")]
    assert list(records(b"\1\0")) == []


def test_seeds_become_files_once(tmp_path: Path) -> None:
    target = types.SimpleNamespace(seeds=lambda: iter([b"one", b"two", b"one"]))
    for _ in range(2):
        writeSeeds("gotime", target, tmp_path)
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"one", b"two"]


class Atheris(types.ModuleType):
    """In place of atheris, which not every Python has: hands the target what is in its corpus."""

    def __init__(self) -> None:
        super().__init__("atheris")
        self.given: list[bytes] = []

    def instrument_imports(self, include: list[str] | None = None) -> Any:
        import contextlib

        return contextlib.nullcontext()

    def Setup(self, arguments: list[str], target: Any) -> None:
        self.corpus, self.target = Path(arguments[-1]), target

    def Fuzz(self) -> None:
        for path in self.corpus.iterdir():
            self.given.append(path.read_bytes())
            self.target(self.given[-1])


@pytest.fixture
def atheris(monkeypatch: pytest.MonkeyPatch) -> Atheris:
    stand_in = Atheris()
    monkeypatch.setitem(sys.modules, "atheris", stand_in)
    monkeypatch.setattr("os.nice", lambda increment: 0)
    return stand_in


def test_a_run_hands_the_target_and_its_corpus_to_atheris(
    atheris: Atheris, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "_forgetLogs", lambda: None)  # for good, and for all other tests as well
    run.fuzz("gotime", 1, tmp_path)
    assert set(atheris.given) == set(load("gotime").seeds())


def test_a_run_that_fails_without_an_input_has_found_nothing() -> None:
    assert run.verdict(0, LOG) == "nothing found"
    assert run.verdict(77, LOG + "artifact_prefix='x/'; Test unit written to x/crash-1") == "found something"
    assert run.verdict(1, "No such directory: corpus; exiting") == "did not run to its end, and found nothing"


LOG = """begun: 2026-11-22 23:00 UTC, for 60 s
#2\tINITED cov: 10 ft: 20 corp: 1/1b exec/s: 0 rss: 40Mb
#900\tNEW    cov: 34 ft: 106 corp: 23/1115b lim: 4096 exec/s: 104934 rss: 40Mb
Done 1200 runs in 61 second(s)

processor: 42 s
"""


def test_the_report_says_what_the_logs_say() -> None:
    found = report.readLog(LOG)
    assert found == report.Run("2026-11-22", 61, 42, 1200, 34, 106, "23 (1115b)", 0)
    assert report.readLog(LOG + "artifact_prefix='x/'; Test unit written to x/crash-1\n").findings == 1
    with pytest.raises(ValueError, match="not ended"):
        report.readLog(LOG.partition("processor")[0])
    text = "\n".join(report.table({"smux": found}))
    assert "2026-11-22" in text and "1,200" in text and "1 minutes by the clock, 1 of a processor" in text


def test_runs_of_one_target_are_summed_and_what_has_not_ended_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number, log in enumerate((LOG, LOG, LOG.partition("processor")[0])):
        (tmp_path / "logs" / f"smux.{number}.log").write_text(log)
    report.main(["--folder", str(tmp_path), "--write", str(tmp_path / "table")])
    assert (
        "2,400" in (tmp_path / "table").read_text()
        and "2 minutes by the clock, 1 of a processor" in (tmp_path / "table").read_text()
    )


# ------------------------------------------------------------------ the example of docs/fuzz-your-layer.rst


def example(name: str) -> Any:
    """A module of the example, whose own tests pytest finds by itself."""
    specification = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLE / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_s_target_is_handed_to_atheris_and_holds_on_a_corpus(
    atheris: Atheris, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "seed").write_bytes(b"\3\5a\1b\2")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setattr("sys.argv", ["fuzz_runlength.py", str(tmp_path)])
    example("fuzz_runlength").main()
    assert atheris.given == [b"\3\5a\1b\2"]


def test_the_page_s_promises_find_the_bug_that_the_page_tells_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    promises = example("test_runlength_properties")

    class Forgetful(promises.RunLength):  # type: ignore[misc]
        def decompress(self, data: bytes) -> bytes:
            self.held = b""
            return bytes(super().decompress(data))

    monkeypatch.setattr(promises, "RunLength", Forgetful)
    with pytest.raises(AssertionError, match="what comes out"):
        promises.holdsOn(b"\0\3ab")
