"""Runs a conformance suite over a provider that is wrong, and tells what it says."""

from __future__ import annotations

from typing import Any

__all__ = ["complaint", "properties"]


def properties(suite: type) -> list[str]:
    """The tests of a suite, by name."""
    return sorted(name for name in dir(suite) if name.startswith("test_"))


def complaint(suite: type, **attributes: Any) -> str:
    """The first test that fails on a provider, with what it says; empty where all pass.  Each runs on an object of its
    own, as pytest has it."""
    made: Any = type("Broken", (suite,), attributes)
    for name in properties(suite):
        try:
            getattr(made(), name)()
        except Exception as error:  # noqa: BLE001 - whatever a wrong provider raises is a failure
            return f"{name}: {type(error).__name__}: {error}"
    return ""
