"""Keeps a number of workers running.

A worker that ends by itself is started again after a pause.  The pause grows while workers do not last, so that one
which cannot begin costs little, and the next user of the log finds a few lines rather than thousands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["PAUSE", "PAUSE_MAX", "STEADY", "Pauses", "Supervisor"]

W = TypeVar("W")


class Pauses:
    """How long one worker that has ended is not started again, in seconds: PAUSE at first, then double each time, up
    to PAUSE_MAX; and PAUSE again after it has run for STEADY seconds of ``clock``."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._next = PAUSE
        self._began = clock.seconds()

    def begun(self) -> None:
        """It has been started."""
        self._began = self._clock.seconds()

    def ended(self) -> float:
        """It has ended; returns the pause."""
        if self._clock.seconds() - self._began >= STEADY:
            self._next = PAUSE
        pause, self._next = self._next, min(2 * self._next, PAUSE_MAX)
        return pause


class Supervisor(Generic[W]):
    """Keeps workers 1 to ``count`` running, between ``start`` and ``leave``.

    ``launch(number, ended)`` starts one and returns it, or raises OSError where it cannot be started.  ``ended(how)``
    is to be called once, when it is gone; ``how`` goes on after "Worker 3", as in "was killed".  ``lost(number)`` is
    called for each that is gone."""

    def __init__(
        self,
        clock: IReactorTime,
        count: int,
        launch: Callable[[int, Callable[[str], None]], W],
        lost: Callable[[int], None],
    ) -> None:
        self._clock = clock
        self._launch = launch
        self._lost = lost
        self._pauses = {number: Pauses(clock) for number in range(1, count + 1)}
        self._waiting: dict[int, IDelayedCall] = {}  # what is not started again yet
        self._living: dict[int, W] = {}
        self._leaving: Deferred[None] | None = None

    @property
    def workers(self) -> dict[int, W]:
        """Those that live, by number."""
        return dict(self._living)

    def start(self) -> None:
        for number in self._pauses:
            self._begin(number)

    def leave(self) -> Deferred[None]:
        """Start none again from now on.  Fires when none lives any more.  To be called once."""
        self._leaving = Deferred()
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()
        left = self._leaving
        self._checkLeft()
        return left

    def _begin(self, number: int) -> None:
        self._waiting.pop(number, None)
        self._pauses[number].begun()
        try:
            self._living[number] = self._launch(number, lambda how: self._ended(number, how))
        except OSError as error:
            self._again(number, f"cannot be started: {error.strerror or error}")

    def _ended(self, number: int, how: str) -> None:
        del self._living[number]
        self._lost(number)
        if self._leaving is None:
            self._again(number, how)
        else:
            self._checkLeft()

    def _again(self, number: int, how: str) -> None:
        pause = self._pauses[number].ended()
        _log.error(
            "Worker {number} {how}; it is started again in {pause:g} s", number=number, how=how, pause=pause
        )
        self._waiting[number] = self._clock.callLater(pause, self._begin, number)

    def _checkLeft(self) -> None:
        if self._leaving is not None and not self._living:
            left, self._leaving = self._leaving, Deferred()
            left.callback(None)


PAUSE = 0.25  # s; what comes meanwhile waits in the kernel, and clients miss nothing for 3 s
PAUSE_MAX = 30.0  # s
STEADY = 60.0  # s; whoever ran for so long had begun well

_log = Logger()
