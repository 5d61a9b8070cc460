"""Lets every test import the interop harness (tests/interop) and the vector files by plain names."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE / "interop"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from exampleenvironment import exampleCommand

__all__ = ["exampleCommand"]
