"""The clock of a random world: twisted's Clock, quicker, and somebody looks after each step of it.

A step is one delayed call.  Calls wait in a heap instead of a list that is sorted each time, since a world makes
thousands of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock

__all__ = ["WorldClock"]


class WorldClock(Clock):
    """``afterStep()`` is called after each delayed call, and what it raises comes out of ``advance``."""

    def __init__(self) -> None:
        super().__init__()
        self.afterStep: Callable[[], None] | None = None
        self.steps = 0
        self.stepsAtOnce = 0  # since time has last passed
        self._heap: list[tuple[float, int, DelayedCall]] = []
        self._pending: dict[DelayedCall, None] = {}
        self._serial = 0

    def callLater(self, delay: float, callable: Any, *args: object, **kw: object) -> DelayedCall:
        """See IReactorTime."""
        when = self.rightNow + delay
        call = DelayedCall(when, callable, args, kw, self._pending.pop, self._push, self.seconds)  # type: ignore[arg-type]
        self._pending[call] = None
        self._push(call)
        return call

    def getDelayedCalls(self) -> list[DelayedCall]:  # type: ignore[override]
        """See IReactorTime."""
        return list(self._pending)

    @property
    def pending(self) -> int:
        """How many calls there are."""
        return len(self._pending)

    def advance(self, amount: float) -> None:
        """Let so many seconds pass at once, and make the calls that are due then."""
        self.rightNow += amount
        if amount > 0:
            self.stepsAtOnce = 0
        while True:
            due = self._nextTime()
            if due is None or due > self.rightNow:
                return
            call = heapq.heappop(self._heap)[2]
            del self._pending[call]
            call.called = 1
            self.steps += 1
            self.stepsAtOnce += 1
            call.func(*call.args, **call.kw)
            if self.afterStep is not None:
                self.afterStep()

    def advanceUntil(self, condition: Callable[[], Any], seconds: float) -> bool:
        """As kcpstack.testing.network.advanceUntil."""
        end = self.rightNow + seconds
        while not condition():
            due = self._nextTime()
            if due is None or due >= end:
                self.advance(max(0.0, end - self.rightNow))
                return bool(condition())
            self.advance(max(0.0, due - self.rightNow))
        return True

    def _push(self, call: DelayedCall) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (call.getTime(), self._serial, call))

    def _nextTime(self) -> float | None:
        """When the first call is due; its entry is the first in the heap then."""
        heap = self._heap
        while heap:
            when, _, call = heap[0]
            if call not in self._pending:
                heapq.heappop(heap)
            elif call.getTime() > when:  # it was put off
                heapq.heappop(heap)
                call.activate_delay()
                self._push(call)
            else:
                return when
        return None
