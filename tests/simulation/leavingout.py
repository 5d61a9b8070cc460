"""What can be left out of a random world, so that one that fails becomes small.

A part is a word: ``event:2``, ``changes:2`` (what that event changes), ``stream:3``, ``calm:3`` (it stays, but little is
wanted of it), ``fault:loss``, ``option:mtu`` (both ends have the default), ``farewell:client`` (it closes at once), and
those in SINGLE.  Events and streams have the numbers that they have in the whole plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields, replace
from typing import Any

__all__ = ["SINGLE", "leaveOut", "parts"]

# Options that are one thing; all others are on their own.
TOGETHER = {
    "mode": ("mode", "nodelay", "interval", "resend", "nc"),
    "datashard": ("datashard", "parityshard"),
    "streambuf": ("streambuf", "smuxbuf"),
    "autoexpire": ("autoexpire", "scavengettl"),
}
ALONE = (
    "crypt", "key", "QPP", "QPPCount", "mtu", "sndwnd", "rcvwnd", "acknodelay", "nocomp", "smuxver", "framesize", "keepalive",
    "ratelimit", "conn",
)  # fmt: skip
OPTIONS = {**TOGETHER, **{name: (name,) for name in ALONE}}


def _listenOnce(world: Any) -> None:
    """One port, and it is the one that is called."""
    address = world.clientSettings.remoteaddr
    world.ports = world.ports[:1]
    world.clientSettings = replace(world.clientSettings, remoteaddr=type(address)(address.host, world.ports[0]))


def _setter(name: str, value: Any) -> Callable[[Any], None]:
    return lambda world: setattr(world, name, value)


# What else there is: whether a world has it, and how it is left out.
SINGLE: dict[str, tuple[Callable[[Any], bool], Callable[[Any], None]]] = {
    "ports": (lambda world: len(world.ports) > 1 or world.callsInVain, _listenOnce),
    "rudeness": (lambda world: world.isRude, _setter("isRude", False)),
    "high-numbers": (lambda world: world.numbersLeft > 0, _setter("numbersLeft", 0)),
    "weight": (lambda world: world.isHeavy, _setter("isHeavy", False)),
    "relays": (lambda world: world.isRelayed, _setter("isRelayed", False)),
    "resolving": (lambda world: world.resolving > 0, _setter("resolving", 0.0)),
    "starting": (lambda world: world.isStarted, _setter("isStarted", False)),
    "refusals": (lambda world: world.network.refuses, lambda world: setattr(world.network, "refuses", False)),
}


def parts(world: Any) -> list[str]:
    """What can be left out of ``world``, whatever was left out already; the largest first."""
    events, opens, farewells = world.drawn
    numbers = range(len(events))
    return [
        *(f"event:{number}" for number in numbers),
        *(f"stream:{stream}" for stream in opens),
        *(f"farewell:{end}" for end, seconds, pause in farewells if seconds is not None or pause),
        *(name for name, (has, _) in SINGLE.items() if has(world)),
        *(f"fault:{name}" for name, value in world.faults.items() if value),
        *(f"option:{name}" for name in OPTIONS if _isSpecial(world, name)),
        *(f"changes:{number}" for number in numbers if _without(events[number]) != events[number]),
        *(f"calm:{stream}" for stream in opens),
    ]


def leaveOut(world: Any, names: Iterable[str]) -> None:
    """Change the plan of ``world``, which has been drawn and not built.  Raises ValueError for what there can never be."""
    numbered = dict(enumerate(world.events))
    world.opens = dict(world.opens)
    for name in names:
        kind, _, which = name.partition(":")
        if name in SINGLE:
            SINGLE[name][1](world)
        elif kind == "event":
            numbered.pop(int(which), None)
        elif kind == "changes" and int(which) in numbered:
            numbered[int(which)] = _without(numbered[int(which)])
        elif kind == "stream":
            world.opens.pop(int(which), None)
        elif kind == "calm":
            world.calm.add(int(which))
        elif kind == "fault":
            world.faults[which] = 0.0
        elif kind == "option" and which in OPTIONS:
            world.clientSettings = _withDefaults(world.clientSettings, which)
            world.serverSettings = _withDefaults(world.serverSettings, which)
        elif kind == "farewell":
            world.farewells = [(end, None, 0.0) if end == which else (end, *rest) for end, *rest in world.farewells]
        elif kind != "changes":
            raise ValueError(f"{name}: there is nothing of that name to leave out")
    world.events = list(numbered.values())


def _without(event: Any) -> Any:
    """The event, changing nothing."""
    empty: dict[str, Any] = {name: {} for name in ("changes", "secrets") if name in event.facts}
    return event._replace(facts={**event.facts, **empty})


def _isSpecial(world: Any, option: str) -> bool:
    return any(_withDefaults(settings, option) != settings for settings in (world.clientSettings, world.serverSettings))


def _withDefaults(settings: Any, option: str) -> Any:
    defaults = {field.name: field.default for field in fields(settings) if field.name in OPTIONS[option]}
    assert MISSING not in defaults.values()
    return replace(settings, **defaults)
