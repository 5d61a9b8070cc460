"""The file of ``--log``: an observer for Twisted's logging that can open its file anew.

Twistd's own ``--logfile`` rotates at a megabyte and knows no other way to let go of a file.  Go's kcptun
appends for ever to one, which logrotate(8) may have moved away; so do we, but SIGHUP opens it anew.
"""

from __future__ import annotations

import errno
import os
from io import FileIO

from twisted.logger import ILogObserver, LogEvent, formatEventAsClassicLogText
from zope.interface import implementer

__all__ = ["LogFile"]


@implementer(ILogObserver)
class LogFile:
    """Appends each event as a line to the file at ``path``.  Raises OSError where it cannot be opened;
    what cannot be written later (a full disk) is lost, for there is nowhere to say so.

    A path may be relative to where the process was when this was made: a daemon changes that later."""

    def __init__(self, path: str) -> None:
        self._folder = os.getcwd()
        self.path = os.path.join(self._folder, path)
        self._file = _opened(self.path)

    def __call__(self, event: LogEvent) -> None:
        text = formatEventAsClassicLogText(event)
        if text is None:
            return
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        except OSError:
            return

    def reopen(self, path: str) -> None:
        """Go on in the file that is at ``path`` now.  Raises OSError, and then nothing has changed.

        Where that is the one we have, it is kept: a process that root started may be unable to open it."""
        path = os.path.join(self._folder, path)
        if self._has(path):
            return
        file = _opened(path)
        self._file.close()
        self._file, self.path = file, path

    def _has(self, path: str) -> bool:
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._file.fileno()))
        except (OSError, ValueError):
            return False


def _opened(path: str) -> FileIO:
    try:
        return open(path, "ab", buffering=0)  # one write a line, so that lines of several processes stay whole
    except ValueError as error:  # a name that no file can have
        raise OSError(errno.EINVAL, str(error), path) from None
