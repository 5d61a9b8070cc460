"""What others may import is there, says what it is, and is what its module exports."""

from __future__ import annotations

from importlib import import_module
from inspect import isclass, isroutine

import pytest
from zope.interface.interface import InterfaceClass

from kcpstack import ALL, PUBLIC


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
    assert not any(part.startswith("_") or part == "kernels" for part in module.split("."))
