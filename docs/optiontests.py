"""Which tests show which option at work: from the markers ``@pytest.mark.option("mtu")``.

``python docs/optiontests.py`` prints every option with its tests; the exit status is 1 where one has none.
The documentation has the same list.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from kcpstack.options import TABLE, dashed

CHECKOUT = Path(__file__).resolve().parents[1]


def testsOfOptions() -> dict[str, list[str]]:
    """For each option's name, in table order, its tests as pytest names them."""
    found: dict[str, list[str]] = {option.name: [] for option in TABLE}
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        for name, test in _marked(ast.parse(path.read_text())):
            found[name].append(f"{path.relative_to(CHECKOUT)}::{test}")
    return found


def _marked(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Option and test, for each name in a marker of a test function or of a class."""
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.option":
                    yield from ((ast.literal_eval(argument), node.name) for argument in mark.args)


def main() -> int:
    listed = testsOfOptions()
    for name, tests in listed.items():
        print(dashed(name), *(tests or ["HAS NO TEST"]), sep="\n    ")
    return 0 if all(listed.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
