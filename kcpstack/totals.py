"""The counters of several workers as those of one server.

What each counter becomes:

- Most only grow, and are added up.  What a worker that is gone has counted stays in the sum, which so never goes back.
- NOW has what is there at this moment: added up over the workers that live.
- MaxConn is the most that the sum of CurrEstab has been in what the workers told, and at least the MaxConn of each.
- OF_ONE belongs to the decoder that was heard last: taken from the worker whose InPkts grew last.
"""

from __future__ import annotations

from collections.abc import Mapping

from kcpstack.counters import Counters

__all__ = ["NOW", "OF_ONE", "Totals"]

NOW = ("CurrEstab", "RingBufferSndQueue", "RingBufferRcvQueue", "RingBufferSndBuffer")
OF_ONE = ("FECShardSet", "FECShardMin")
PEAK = "MaxConn"
HEARD = "InPkts"


class Totals:
    """What workers, named by numbers, have told of their counters."""

    def __init__(self) -> None:
        self._latest: dict[int, Mapping[str, int]] = {}  # of those that live
        self._gone = dict.fromkeys(Counters().asDict(), 0)  # what those that do not have counted
        self._peak = 0
        self._ofOne = dict.fromkeys(OF_ONE, 0)

    def told(self, number: int, counts: Mapping[str, int]) -> None:
        """Worker ``number`` has counted this since it began.  Names that are not ours, or missing, do no harm."""
        before = self._latest.get(number, {})
        self._latest[number] = counts
        if counts.get(HEARD, 0) > before.get(HEARD, 0):
            self._ofOne = {name: counts.get(name, 0) for name in OF_ONE}
        established = sum(each.get("CurrEstab", 0) for each in self._latest.values())
        self._peak = max(self._peak, established, counts.get(PEAK, 0))

    def ended(self, number: int) -> None:
        """Worker ``number`` is gone; the next one of this number begins at 0."""
        last = self._latest.pop(number, {})
        for name in self._gone:
            if name not in NOW:
                self._gone[name] += last.get(name, 0)

    def sum(self) -> Counters:
        """A new object each time."""
        total = Counters()
        for name, gone in self._gone.items():
            setattr(total, name, gone + sum(each.get(name, 0) for each in self._latest.values()))
        for name, value in {**self._ofOne, PEAK: self._peak}.items():
            setattr(total, name, value)
        return total
