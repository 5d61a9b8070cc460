"""What a layer catches and logs is a finding as well: nothing that bytes can do should get there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import LogEvent, globalLogPublisher

__all__ = ["noneLogged"]


@contextmanager
def noneLogged() -> Iterator[None]:
    """Raises the first failure that was logged meanwhile."""
    failures: list[Any] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    if failures:
        failures[0].raiseException()
