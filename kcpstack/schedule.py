"""One real timer for everything that waits on one UDP port, and one call at the end of each turn of the reactor.

A port can have thousands of sessions and most are idle.  Each layer tells the schedule when it wants to
be called, or that it does not; a KCP session with nothing in flight is not in here at all.

What several layers do at the end of a turn happens in one go: smux writes what its streams have, KCP sends it.  A call of
the reactor for each would cost a round of its loop each, and that is most of what a short message costs.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Member", "Schedule"]


class Member(Protocol):
    """What waits."""

    def due(self, now: float) -> None:
        """Its time has come."""


class Schedule:
    """Calls ``member.due(now)`` when its time has come.  ``now`` and all times are milliseconds of
    ``clock``, as floats.

    Members are told apart by identity.  ``due`` is never called from inside another call of this
    object's methods that somebody else made, and an exception in it is the reactor's to log, without harm to the others."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Member]] = []
        self._wanted: dict[Member, float] = {}  # member: the one time that counts
        self._serial = 0  # breaks ties, so that members are never compared
        self._timer: IDelayedCall | None = None
        self._timerAt = 0.0
        self._late = False
        self._calling = 0.0  # ms; the latest time asked for by those being called
        self._soon: dict[Member, None] = {}  # insertion order is calling order
        self._turning = False  # those of this turn are being called
        self._soonCall: IDelayedCall | None = None

    def now(self) -> float:
        """The time in milliseconds.  While members are being called it is at least what they asked
        for, so that rounding cannot make one wake up a hair too early, for ever."""
        return max(float(self._clock.seconds()) * 1000.0, self._calling)

    def at(self, member: Member, when: float | None) -> None:
        """Call ``member.due`` at ``when`` and forget its former time; None: do not call it."""
        if when is None:
            if self._wanted.pop(member, None) is not None:
                self._dropIfIdle()
            return
        if self._wanted.get(member) == when:
            return
        self._wanted[member] = when
        self._serial += 1
        heapq.heappush(self._heap, (when, self._serial, member))
        if len(self._heap) > 2 * len(self._wanted) + STALE_ENTRIES:
            self._compact()
        self._arm()

    def soon(self, member: Member) -> None:
        """Call ``member.due`` once this turn of the reactor is over, however often it is asked.  Who asks while others are
        called for that is called with them, ROUNDS times at most: the network must be read as well."""
        self._soon[member] = None
        if self._soonCall is None and not self._turning:
            self._soonCall = self._clock.callLater(0, self._turnOver)

    def forget(self, member: Member) -> None:
        """Never call ``member`` again, but for a call that may be under way."""
        self._soon.pop(member, None)
        if self._soonCall is not None and not self._soon:
            self._soonCall.cancel()
            self._soonCall = None
        self.at(member, None)

    def _dropIfIdle(self) -> None:
        if not self._wanted:
            self._heap.clear()
            self._arm()

    def _turnOver(self) -> None:
        self._soonCall = None
        self._turning = True
        try:
            for _ in range(ROUNDS):
                if not self._soon:
                    break
                members, self._soon = deque(self._soon), {}
                self._call(members)
        finally:
            self._turning = False
            if self._soon and self._soonCall is None:
                self._soonCall = self._clock.callLater(0, self._turnOver)

    def _expired(self) -> None:
        if self.now() - self._timerAt > LATE and not self._late:
            # We, not the network, were slow.  Acks may be waiting in the socket: a reactor runs timers
            # before it reads, so give it one round to read before anything counts as lost.
            self._late = True
            self._timer = self._clock.callLater(0, self._expired)
            return
        self._late = False
        self._timer = None
        limit = self.now() + TIMER_SLACK
        members: deque[Member] = deque()
        while self._heap and self._heap[0][0] <= limit:
            when, _, member = heapq.heappop(self._heap)
            if self._wanted.get(member) == when:
                del self._wanted[member]
                members.append(member)
                self._calling = when
        self._call(members)

    def _call(self, members: deque[Member]) -> None:
        try:
            while members:
                members.popleft().due(self.now())
        finally:
            self._calling = 0.0
            for member in members:  # one of them raised: the others still get their call
                self.soon(member)
            self._arm()

    def _arm(self) -> None:
        """Set the real timer for the first time wanted.  A timer that would fire too early is left
        alone: it finds nothing and is set again, which is cheaper than moving it each time."""
        heap = self._heap
        while heap and self._wanted.get(heap[0][2]) != heap[0][0]:
            heapq.heappop(heap)
        if not heap:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        when = heap[0][0]
        if self._timer is not None:
            if self._timerAt <= when:
                return
            self._timer.cancel()
        self._timerAt = when
        delay = max(0.0, when - self.now()) / 1000.0
        self._timer = self._clock.callLater(delay, self._expired)

    def _compact(self) -> None:
        self._heap = [entry for entry in self._heap if self._wanted.get(entry[2]) == entry[0]]
        heapq.heapify(self._heap)


ROUNDS = 4  # of calls at the end of a turn; smux, KCP, and what their sending makes of it
STALE_ENTRIES = 64  # entries; rebuilding the heap below this is not worth the walk
LATE = 1.0  # ms; a reactor with time to spare is earlier than that
TIMER_SLACK = 0.01  # ms; rounding of floats must not cost a second wake-up
