"""Changes under way: what SIGHUP does.

The configuration is read again, the log file opened anew.  What may change under way is handed to the
tunnel; of the rest the log says that it waits for a restart.  A configuration that will not do changes
nothing.
"""

from __future__ import annotations

import signal
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger

from kcpstack.logfile import LogFile
from kcpstack.options import Configuration, Option, Settings, dashed, restartless, valueText
from kcpstack.options.configuration import unwritable
from kcpstack.signals import SignalWatch

__all__ = ["Reloading"]


class Reloading(Service):
    """Says at the start what is to be said of the ``configuration``, and reads it again at SIGHUP.

    ``tunnel`` has ``settings``, and ``reconfigure(settings)``, which takes over new ones at once as far as its
    option table says.  ``logFile`` is None where there is no ``--log``.  SIGHUP is left alone (it ends a process) where
    there is nothing to read again.

    While the tunnel closes, only the log file is opened anew.  Whoever has stopped all calls ``leave``."""

    def __init__(self, reactor: Any, configuration: Configuration, tunnel: Any, logFile: LogFile | None) -> None:
        self._configuration = configuration
        self._tunnel = tunnel
        self._logFile = logFile
        self._closing = False
        rereads = bool(configuration.path) or logFile is not None
        self._watch = SignalWatch(reactor, RELOAD_SIGNAL if rereads else None, self.reload)

    def startService(self) -> None:
        super().startService()
        for remark in self._configuration.remarks:
            _log.warn("{remark}", remark=remark)
        self._watch.start()

    def stopService(self) -> None:
        super().stopService()
        self._closing = True

    def leave(self) -> None:
        """Leave the signal alone from now on."""
        self._watch.stop()

    def reload(self) -> None:
        """Read the configuration again and do what has changed in it."""
        try:
            newer = self._configuration if self._closing else self._configuration.reread()
            self._tunnel.check(newer.settings)
            self._reopen(newer.settings.log)
        except ValueError as error:
            _log.error("SIGHUP: nothing is changed: {error}", error=error)
            return
        if self._closing:
            _log.info("SIGHUP: this is closing, and takes over no options any more")
            return
        for remark in newer.remarks:
            if remark not in self._configuration.remarks:
                _log.warn("{remark}", remark=remark)
        self._configuration = newer
        self._take(newer.settings)

    def _take(self, settings: Settings) -> None:
        role, before = self._configuration.role, self._tunnel.settings
        changed = [option for option in before.changed(settings) if option.name != "log"]
        for option in changed:
            _log.info("SIGHUP: {change}", change=_change(role, option, before, settings))
        if changed:
            self._tunnel.reconfigure(restartless(role, before, settings))
        else:
            _log.info("SIGHUP: no option has changed")

    def _reopen(self, path: str) -> None:
        """Go on in the log file of that name; where one is to begin or to end, that takes a restart."""
        if bool(path) != (self._logFile is not None):
            _log.warn("SIGHUP: a log file where there was none, or none where there was one, takes a restart")
        if self._logFile is not None:
            try:
                self._logFile.reopen(path or self._logFile.path)
            except OSError as error:
                raise unwritable(path or self._logFile.path, error) from None


def _change(role: str, option: Option, before: Settings, after: Settings) -> str:
    if option.secret:
        values = "changed"
    else:
        values = " instead of ".join(valueText(option, getattr(settings, option.name)) for settings in (after, before))
    return f"{dashed(option.name)} {values}, {option.reloadFor(role)}"


RELOAD_SIGNAL: int | None = getattr(signal, "SIGHUP", None)  # Windows has none

_log = Logger()
