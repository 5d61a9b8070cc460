"""Layers of one kind by their names: our own, and those of any installed package, through twisted.plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Generic, TypeVar

from twisted.logger import Logger
from twisted.plugin import getPlugins

from kcpstack.interfaces import ILayerFactory

__all__ = ["Catalogue", "installed"]

Factory = TypeVar("Factory", bound=ILayerFactory)


@cache
def installed() -> Sequence[Any]:
    """The layers of all kinds, looked for once in a process: that reads directories, imports modules, and says of each one
    that is broken what is wrong with it."""
    return list(getPlugins(ILayerFactory))


class Catalogue(Generic[Factory]):
    """The factories of one kind.

    ``noun`` is what they make, ``interface`` (an ILayerFactory) what they provide, and ``unavailable`` has the names
    of ours that cannot be had on this machine, each with the reason.

    What is wrong with a plug-in is logged once."""

    def __init__(self, noun: str, interface: type[Factory], unavailable: Mapping[str, str] | None = None) -> None:
        self.noun = noun
        self.interface = interface
        self.unavailable = {} if unavailable is None else unavailable
        self._complaints: set[str] = set()

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self.factories())

    def find(self, name: str) -> Factory:
        """The factory of this name.

        Raises ValueError, with the known names in its text, where there is none; and with the reason
        where it is one of ours that cannot be had on this machine."""
        factories = self.factories()
        if name not in factories:
            known = f"there are {', '.join(sorted(factories))}"
            if name in self.unavailable:
                raise ValueError(f"the {self.noun} {name} cannot be had: {self.unavailable[name]}; {known}")
            raise ValueError(f"no {self.noun} called {name[:SHOWN_MAX]!r} is installed; {known}")
        return factories[name]

    def factories(self) -> dict[str, Factory]:
        """All factories by name.  One that is broken, or whose name is taken, is logged and left out."""
        found: dict[str, Factory] = {}
        for factory in installed():
            if not self.interface.providedBy(factory):
                continue
            try:
                name = _nameOf(factory)
                first = found.setdefault(name, factory)
            except Exception:  # noqa: BLE001 - a stranger's plug-in must not take the others down
                if self._isNews(f"nameless {type(factory)} {id(factory)}"):
                    _log.failure(
                        "Left out a {noun} plug-in that cannot be named: {type}", noun=self.noun, type=type(factory)
                    )
                continue
            if first is not factory and self._isNews(f"clash {name} {id(factory)}"):
                _log.warn(
                    "Two plug-ins for a {noun} are called {name}: using {first}, not {other}",
                    noun=self.noun,
                    name=name,
                    first=first,
                    other=factory,
                )
        return found

    def _isNews(self, complaint: str) -> bool:
        isNews = complaint not in self._complaints
        self._complaints.add(complaint)
        return isNews


def _nameOf(factory: ILayerFactory) -> str:
    name = factory.name
    if not isinstance(name, str) or not name.isprintable() or not name or ":" in name or " " in name:
        raise TypeError(f"its name is {name!r}, not a printable str without colons and spaces")
    return name


SHOWN_MAX = 80  # characters of a wrong name that are repeated to the user

_log = Logger()
