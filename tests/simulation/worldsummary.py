"""What a number of random worlds had in them, so that one sees how wide the net is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from world import CLIENT_END, SERVER_END
from worldapplications import ABORTS, HANGS_UP

__all__ = ["Summary", "featuresOf"]

# Options of which each value is a line.
SHOWN = (
    "crypt", "QPP", "mode", "mtu", "sndwnd", "rcvwnd", "acknodelay", "nocomp", "framesize", "streambuf", "keepalive", "ratelimit"
)  # fmt: skip
OF_CLIENTS = ("smuxver", "conn", "autoexpire", "scavengettl")
SUMS = ("InPkts", "BytesReceived", "RetransSegs", "FECRecovered")


def featuresOf(world: Any) -> dict[str, list[str]]:
    """What this world, which has been played, had in it: by heading."""
    found = {name: _values(world, name) for name in (*SHOWN, *OF_CLIENTS)}
    shards = sorted({f"{each.settings.datashard}/{each.settings.parityshard}" for each in world.lives})
    found["FEC"] = shards
    found["faults"] = [name for name, value in world.faults.items() if value and name != "delay"] or ["none"]
    found["delay"] = [f"{world.faults['delay']:g} ms"]
    found["events"] = [_named(event) for event in world.events] or ["none"]
    found["streams"] = [str(len(world.opens))]
    found["applications"] = sorted({each.manner for each in world.applications if each.number >= 0})
    found["leaves"] = [f"{end} {'closes' if seconds is None else 'drains'}" for end, seconds, _ in world.farewells]
    found["numbers wrap after"] = [f"{world.numbersLeft} segments" if world.numbersLeft else "never"]
    found["buffers"] = ["less than is carried" if world.isHeavy else "as usual"]
    found["applications are on"] = ["TCP, behind relays" if world.isRelayed else "streams"]
    found["ports"] = [str(len(world.ports))]
    found["happened"] = [name for name, happened in _happened(world).items() if happened]
    return found


def _values(world: Any, name: str) -> list[str]:
    ends = {end: {getattr(each.settings, name, None) for each in world.lives if each.end == end} for end in (CLIENT_END, SERVER_END)}
    chosen = ends[CLIENT_END] if name in OF_CLIENTS else ends[CLIENT_END] | ends[SERVER_END]
    return sorted(map(str, chosen))


def _named(event: Any) -> str:
    facts = event.facts
    if event.name == "restart":
        how = facts["how"] if isinstance(facts["how"], str) else "drain"
        return f"restart {facts['end']}, {how}" + (", other secrets" if facts.get("secrets") else "")
    if event.name == "cut":
        return "cut of both ends" if len(facts["ends"]) == 2 else f"cut of the {facts['ends'][0]}"
    return str(event.name)


def _happened(world: Any) -> dict[str, bool]:
    """What was not planned, but came of it."""
    counters = [life.counters for life in world.lives]
    wanted = [each for each in world.applications if each.connectedAt is not None]

    def counted(*names: str) -> bool:
        return any(getattr(each, name) for each in counters for name in names)

    return {
        "a stream is cut": any(each.lost is not None and not each.isClean for each in wanted),
        "a stream never comes to be": len(wanted) < len(world.applications),
        "a stream aborts": any(each.manner == ABORTS for each in wanted),
        "a stream hangs up": any(each.manner == HANGS_UP for each in wanted),
        "a half-close is heard": any(each.heardEnd for each in wanted),
        "FEC rebuilds": counted("FECRecovered"),
        "a segment is lost": counted("RetransSegs"),
        "a timer runs out": counted("LostSegs"),
        "the checksum refuses": counted("InCsumErrors"),
        "a stranger is dropped": counted("InErrs"),
        "a window overflows": counted("RecvWindowDrops"),
        "many sessions at one end": any(each.ActiveOpens + each.PassiveOpens > 1 for each in counters),
        "an end lives twice": len(world.lives) > 2,
        "nothing may be lost": not world.mayLose,
    }


class Summary:
    """Adds up worlds."""

    def __init__(self) -> None:
        self.worlds = 0
        self.seconds = 0.0  # virtual
        self.steps = 0
        self.sums: Counter[str] = Counter()
        self.features: dict[str, Counter[str]] = {}

    def add(self, features: dict[str, list[str]], seconds: float, steps: int, sums: dict[str, int]) -> None:
        self.worlds += 1
        self.seconds += seconds
        self.steps += steps
        self.sums.update(sums)
        for heading, values in features.items():
            self.features.setdefault(heading, Counter()).update(set(values))

    def lines(self) -> Iterable[str]:
        """One for each heading: its values, and in how many worlds each was."""
        for heading, values in self.features.items():
            ordered = sorted(values.items(), key=lambda item: (_asNumber(item[0]), -item[1]))
            yield f"{heading:13s} " + ", ".join(f"{value} {count}" for value, count in ordered)
        sums = ", ".join(f"{name} {self.sums[name]:,}" for name in SUMS)
        yield f"{'in all':13s} {self.steps:,} steps, {self.seconds / 3600:,.1f} virtual hours, {sums}"


def sumsOf(world: Any) -> dict[str, int]:
    """Counters of both ends together."""
    return {name: sum(getattr(life.counters, name) for life in world.lives) for name in SUMS}


def _asNumber(text: str) -> float:
    try:
        return float(text.partition(" ")[0])
    except ValueError:
        return 0.0
