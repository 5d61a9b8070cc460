"""What the conformance suites have in common: explicit checks, repeatable bytes, and measures of work and memory."""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from zope.interface.verify import verifyObject

from kcpstack.interfaces import ILayerFactory

__all__ = [
    "bytesKept",
    "check",
    "checkFactory",
    "checkRaisesOnly",
    "cutInto",
    "flipped",
    "linesRun",
    "repeatableBytes",
    "repeatableSource",
]

T = TypeVar("T")


def check(holds: object, otherwise: str) -> None:
    """Raise AssertionError unless ``holds``; unlike assert, also under ``python -O``."""
    if not holds:
        raise AssertionError(otherwise)


def checkFactory(interface: type[ILayerFactory], factory: ILayerFactory) -> None:
    """``factory`` provides ``interface``, and has a name that an option can have."""
    verifyObject(interface, factory)
    check(ILayerFactory.providedBy(factory), f"{factory!r} does not provide ILayerFactory")
    name = factory.name
    check(isinstance(name, str) and name, f"a name is a str and not empty: {name!r}")
    check(name == name.lower(), f"a name is lower case: {name!r}")
    check(":" not in name, f"a name is without colons: {name!r}")


def checkRaisesOnly(kinds: tuple[type[Exception], ...], action: Callable[[], T], what: str) -> T | None:
    """Return what ``action()`` returns, or None where it raises one of ``kinds``; anything else fails."""
    try:
        return action()
    except kinds:
        return None
    except Exception as error:
        raise AssertionError(f"{what}: raised {error!r}") from error


def repeatableSource(seed: object) -> Callable[[int], bytes]:
    """A stand-in for ``randomBytes``: the same bytes for the same seed."""
    return random.Random(f"nonces {seed}").randbytes


def repeatableBytes(seed: object, length: int) -> bytes:
    """``length`` bytes that look random, the same for the same seed."""
    return random.Random(f"data {seed}").randbytes(length)


def flipped(data: bytes, bit: int) -> bytes:
    """``data`` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def cutInto(data: bytes, size: int) -> list[bytes]:
    """``data`` in pieces of ``size`` bytes, the last perhaps shorter."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def linesRun(action: Callable[[], object]) -> int:
    """How many lines of Python ``action()`` runs: a measure of work that no load on the machine changes.

    Loops inside compiled code are not seen."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(former)
    return count


def bytesKept(actions: Iterable[Callable[[], object]]) -> int:
    """The most bytes that are held, after any of ``actions``, of what they allocated; what they return is
    dropped."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        most = 0
        for action in actions:
            action()
            most = max(most, tracemalloc.get_traced_memory()[0] - before)
        return most
    finally:
        if not running:
            tracemalloc.stop()
