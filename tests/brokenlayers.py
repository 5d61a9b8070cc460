"""Runs a conformance suite over a provider that is wrong, and tells what it says."""

from __future__ import annotations

from typing import Any

__all__ = ["complaints", "properties"]


def properties(suite: type) -> list[str]:
    """The tests of a suite, by name."""
    return sorted(name for name in dir(suite) if name.startswith("test_"))


def complaints(suite: type, **attributes: Any) -> dict[str, str]:
    """The tests that fail on a provider, with what they say: each on an object of its own, as pytest has it."""
    made: Any = type("Broken", (suite,), attributes)
    found = {}
    for name in properties(suite):
        try:
            getattr(made(), name)()
        except Exception as error:  # noqa: BLE001 - whatever a wrong provider raises is a failure
            found[name] = f"{type(error).__name__}: {error}"
    return found
