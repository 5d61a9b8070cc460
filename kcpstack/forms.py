"""Which form of the kernels runs: compiled, or the same source interpreted (docs/kernels.rst).

A compiled kernel is an extension module beside its ``.py``, which Python prefers by itself.  ``KCPSTACK_PURE`` in the
environment of a process makes it take the ``.py``, whatever was built.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    SOURCE_SUFFIXES,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path

__all__ = ["PURE", "describeForm", "preferPlain"]

PURE = "KCPSTACK_PURE"


def preferPlain(package: str) -> None:
    """Import plain modules only from the folder ``package`` and those below it, in this process."""
    for folder, _, files in os.walk(package):
        if "__init__.py" in files:
            plain = (SourceFileLoader, SOURCE_SUFFIXES), (SourcelessFileLoader, BYTECODE_SUFFIXES)
            sys.path_importer_cache[folder] = FileFinder(folder, *plain)


def describeForm() -> str:
    """For people: which form this process runs."""
    from kcpstack.kernels import arq

    if not arq.__file__.endswith(".py"):
        return "compiled"
    built = any(path.suffix in (".so", ".pyd") for path in Path(arq.__file__).parent.iterdir())
    return f"interpreted, as {PURE} says" if built and os.environ.get(PURE) else "interpreted: none were compiled here"
