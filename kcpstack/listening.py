"""Listening in the name of an option: what stands in the way, in the user's terms, and how many may come.

Go raises a process's limit of open files by itself, and operators count on it; so do we.  What is said when even
that is not enough comes at a bounded rate: Twisted says it for each connection.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]  # a module, for mypy

__all__ = ["AcceptErrors", "CannotBegin", "fileLimit", "listening", "raiseFileLimit"]

T = TypeVar("T")


class CannotBegin(CannotListenError):
    """What an option says cannot be listened on: one line for the user, which says what would help."""

    def __init__(self, given: str, error: CannotListenError, isRange: bool = False) -> None:
        """``given`` is the option with its value; ``isRange`` where that does not say which port failed."""
        super().__init__(error.interface, error.port, error.socketError)
        self.remedy: str | None = None  # set by whoever knows better than REMEDIES
        self._given = f"{given} (port {error.port})" if isRange else given

    def __str__(self) -> str:
        reason: Any = self.socketError
        text = getattr(reason, "strerror", None) or str(reason)
        usual = UNRESOLVED if isinstance(reason, socket.gaierror) else REMEDIES.get(getattr(reason, "errno", text))
        remedy = self.remedy or usual
        return f"{self._given}: {text}{f': {remedy}' if remedy else ''}"


def listening(given: str, listen: Callable[[], T], isRange: bool = False) -> T:
    """What ``listen()`` returns.  Where it raises CannotListenError or OSError, raises CannotBegin of
    ``given``, the option with its value."""
    try:
        return listen()
    except CannotListenError as error:
        raise CannotBegin(given, error, isRange) from None
    except OSError as error:  # of the lock beside a Unix socket
        raise CannotBegin(given, CannotListenError("", 0, OSError(error.errno, error.strerror))) from None


def raiseFileLimit(reactor: object) -> None:
    """Let this process have as many files open as it may without asking anybody: a connection takes one.  Not
    where ``reactor`` uses select(2), which cannot watch those from 1024 on."""
    if resource is None or isinstance(reactor, SelectReactor):
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS calls a limit unlimited that is not
        return


def fileLimit() -> int | None:
    """How many files this process may have open."""
    return None if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@implementer(ILogObserver)
class AcceptErrors:
    """Stands in for the log of a Twisted port, which says several lines for each connection that cannot be
    accepted: one warning in PERIOD seconds of ``clock``, with a count."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._quietUntil = float("-inf")
        self._unsaid = 0

    def watch(self, port: Any) -> None:
        """Be the log of ``port``.  Twisted has no public way; where it has changed, its own lines stay."""
        if hasattr(port, "_logger"):
            port._logger = Logger(port._logger.namespace, observer=self)

    def __call__(self, event: LogEvent) -> None:
        if "address" not in event and "acceptError" not in event:
            return  # of the steps that Twisted takes
        now = self._clock.seconds()
        if now < self._quietUntil:
            self._unsaid += 1
            return
        self._quietUntil = now + PERIOD
        unsaid, self._unsaid = self._unsaid, 0
        _log.warn(
            "A connection could not be accepted: {why}{more}",
            why=self._why(event.get("acceptError", "EMFILE")),
            more=f" ({unsaid} more since the last such line)" if unsaid else "",
        )

    def _why(self, name: str) -> str:
        if name == "EMFILE":
            return f"this process may have {fileLimit()} files open, and has: raise that (ulimit -n, LimitNOFILE= of systemd)"
        return os.strerror(getattr(errno, name, 0))


PERIOD = 10.0  # s

UNRESOLVED = "give an address of this machine, or none (as in :29900) for all that it has"
REMEDIES = {
    errno.EADDRINUSE: "something has that already; is a kcptun running? (ss -lnptux names it)",
    errno.EADDRNOTAVAIL: UNRESOLVED,
    errno.EACCES: "ports below 1024 and other people's directories are for root (twistd --uid leaves root afterwards)",
    errno.ENOENT: "make the directory first",
    "Cannot acquire lock": "another process listens there",
}

_log = Logger()
