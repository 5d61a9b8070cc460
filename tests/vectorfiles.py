"""The captured sessions of Go peers in tests/vectors (its README.md says what is in them)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["load", "names"]

VECTORS = Path(__file__).parent / "vectors"


def names() -> list[str]:
    """Return the names of all files, without ".json", sorted."""
    return sorted(path.stem for path in VECTORS.glob("*.json"))


def load(name: str) -> dict[str, Any]:
    """Return what one file holds."""
    return json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
