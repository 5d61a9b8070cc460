"""Signals, in the reactor's own time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads

__all__ = ["STOP_SIGNALS", "SignalWatch", "StopSignals"]


class SignalWatch:
    """Calls ``received()`` in the reactor's turn after signal ``number`` has come, while it is started.

    Nothing is installed where the system has no such signal (None), on a reactor that has no
    ``callFromThread`` (a simulated one), or outside the main thread, where Python does not allow it."""

    def __init__(self, reactor: Any, number: int | None, received: Callable[[], None]) -> None:
        self._reactor = reactor
        self._number = number
        self._received = received
        self._previous: Any = None
        self._installed: Any = None

    def start(self) -> None:
        inMainThread = threading.current_thread() is threading.main_thread()
        if self._number is None or not inMainThread or not IReactorFromThreads.providedBy(self._reactor):
            return
        self._installed = self._signalled
        self._previous = signal.signal(self._number, self._installed)

    def stop(self) -> None:
        """Put back what was there before, unless somebody has put another one there since."""
        if self._number is not None and self._installed is not None:
            if signal.getsignal(self._number) is self._installed:
                signal.signal(self._number, self._previous)
            self._installed = None

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._received)


class StopSignals:
    """Calls ``asked()`` at each further signal that asks this process to stop, between ``start`` and ``stop``."""

    def __init__(self, reactor: Any, asked: Callable[[], None]) -> None:
        self._watches = [SignalWatch(reactor, number, asked) for number in STOP_SIGNALS]

    def start(self) -> None:
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        for watch in self._watches:
            watch.stop()


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
