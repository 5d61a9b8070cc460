"""What others may import is there, says what it is, and is what its module exports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import isclass, isroutine
from pathlib import Path

import pytest
from zope.interface.interface import InterfaceClass

from kcpstack import ALL, PUBLIC, interfaces

CHECKOUT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_exported_and_documented(module: str) -> None:
    found = import_module(module)
    assert found.__doc__
    assert len(set(found.__all__)) == len(found.__all__)
    for name in found.__all__ if PUBLIC[module] == ALL else PUBLIC[module]:
        assert name in found.__all__
        assert not name.startswith("_")
        value = getattr(found, name)
        if isinstance(value, InterfaceClass) or isclass(value) or isroutine(value):
            assert value.__doc__, name


@pytest.mark.parametrize("module", PUBLIC)
def test_no_public_module_is_in_a_private_place(module: str) -> None:
    assert not any(part.startswith("_") for part in module.split("."))
    assert PUBLIC[module] != ALL or "kernels" not in module, (
        "kernels may be compiled: name what is public of them"
    )


def imports(source: Path) -> Iterator[tuple[str, str]]:
    """Module and name of all that a page, or an example in one, imports from us."""
    text = source.read_text()
    if source.suffix == ".py":
        text = ast.unparse(ast.parse(text))
    for module, names in re.findall(r"\bfrom (kcpstack(?:\.\w+)*) import ([\w, ]+)", text):
        yield from ((module, name.split()[0]) for name in names.split(","))


def test_the_documentation_takes_only_what_is_public() -> None:
    pages = [*(CHECKOUT / "docs").glob("*.rst"), CHECKOUT / "README.md"]
    included = {
        each for page in pages for each in re.findall(r"literalinclude:: \.\./(\S+\.py)", page.read_text())
    }
    assert "tests/test_kit_page.py" in included
    for source in [*pages, *(CHECKOUT / "examples").glob("*.py"), *map(CHECKOUT.joinpath, included)]:
        for module, name in imports(source):
            public = PUBLIC.get(module, ())
            if f"{module}.{name}" not in PUBLIC:
                names = import_module(module).__all__ if public == ALL else public
                assert name in names, f"{source} imports {module}.{name}"


def test_the_signatures_of_interfaces_name_only_what_is_public() -> None:
    (block,) = (
        node for node in ast.parse(Path(interfaces.__file__).read_text()).body if isinstance(node, ast.If)
    )
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        public = PUBLIC[node.module or ""]
        for alias in node.names:
            assert public == ALL or alias.name in public
