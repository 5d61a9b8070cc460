"""The bugs that measure the net still fit the code that they are planted in.  (Planting them takes minutes, by hand.)"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from plantedbugs import BUGS, CHECKOUT, Bug, plant


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_changes_the_code_and_leaves_python(bug: Bug, tmp_path: Path) -> None:
    target = tmp_path / bug.file
    target.parent.mkdir(parents=True)
    shutil.copy(CHECKOUT / bug.file, target)
    plant(bug, tmp_path)
    assert target.read_text() != (CHECKOUT / bug.file).read_text()
    compile(target.read_text(), bug.file, "exec")
    for test in bug.tests.split():
        assert (CHECKOUT / test).exists()
