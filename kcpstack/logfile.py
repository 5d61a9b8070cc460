"""The file of ``--log``: an observer for Twisted's logging that can open its file anew.

Twistd's own ``--logfile`` rotates at a megabyte and knows no other way to let go of a file.  Go's kcptun
appends for ever to one, which logrotate(8) may have moved away; so do we, but SIGHUP opens it anew.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.logger import ILogObserver, formatEventAsClassicLogText
from zope.interface import implementer

__all__ = ["LogFile"]


@implementer(ILogObserver)
class LogFile:
    """Appends each event as a line to the file at ``path``.  Raises OSError where it cannot be opened;
    what cannot be written later (a full disk) is lost, for there is nowhere to say so."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)  # a daemon changes its working directory
        self._file: Any = _opened(self.path)

    def __call__(self, event: Any) -> None:
        text = formatEventAsClassicLogText(event)
        if text is None:
            return
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        except OSError:
            return

    def reopen(self, path: str) -> None:
        """Go on in the file that is at ``path`` now.  Raises OSError, and then nothing has changed."""
        path = os.path.abspath(path)
        file = _opened(path)
        self._file.close()
        self._file, self.path = file, path


def _opened(path: str) -> Any:
    return open(path, "ab", buffering=0)  # one write a line, so that lines of several processes stay whole
