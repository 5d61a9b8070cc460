"""The package keeps its types: mypy, strict, has nothing to say of it, and whoever installs it gets them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
MINUTE = 60


def complaints(cache: Path) -> Iterator[str]:
    """What mypy says with the configuration of the checkout, a line each."""
    mypy = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), "--no-error-summary", "--hide-error-context"]
    environ = {**os.environ, "MYPY_FORCE_COLOR": "0"}
    done = subprocess.run(
        mypy, cwd=CHECKOUT, env=environ, capture_output=True, check=False, text=True, timeout=5 * MINUTE
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    yield from done.stdout.splitlines()


def test_mypy_has_nothing_to_say(tmp_path: Path) -> None:
    assert list(complaints(tmp_path)) == []


def test_no_error_is_ignored_without_its_code() -> None:
    for path in (CHECKOUT / "kcpstack").glob("**/*.py"):
        for line in path.read_text().splitlines():
            assert re.search(r"# (type: ignore(?!\[)|mypy:)", line) is None, f"{path}: {line}"
