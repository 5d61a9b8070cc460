"""The plain form of modules that are compiled, beside the compiled one: for tests that compare the two."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import kcpstack
from kcpstack.forms import preferPlain

__all__ = ["isCompiled", "plainForms"]

ROOT = Path(kcpstack.__path__[0])


def isCompiled(module: ModuleType) -> bool:
    """Whether it is an extension module."""
    return not str(module.__file__).endswith(".py")


def plainForms(*names: str) -> list[ModuleType]:
    """Modules of kcpstack as plain Python, and with them all of ours that they import and that has a compiled form."""
    compiled = [_name(path) for path in ROOT.rglob("*.pxd")] + [_name(path) for path in ROOT.rglob("*.pyx")]
    aside = {name: sys.modules.pop(name) for name in {*compiled, *names} if name in sys.modules}
    finders = {str(folder): sys.path_importer_cache.get(str(folder)) for folder in _folders()}
    try:
        preferPlain(str(ROOT))
        return [importlib.import_module(name) for name in names]
    finally:
        for folder, finder in finders.items():
            sys.path_importer_cache.pop(folder, None)
            if finder is not None:
                sys.path_importer_cache[folder] = finder
        for name in {*compiled, *names}:
            sys.modules.pop(name, None)
            if name in aside:
                sys.modules[name] = aside[name]
                package, _, attribute = name.rpartition(".")
                setattr(sys.modules[package], attribute, aside[name])


def _folders() -> list[Path]:
    return [Path(folder) for folder, _, files in os.walk(ROOT) if "__init__.py" in files]


def _name(path: Path) -> str:
    return ".".join(("kcpstack", *path.relative_to(ROOT).with_suffix("").parts))
