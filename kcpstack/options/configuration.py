"""From what the user gave, in all its places, to the settings of one command.

A value comes from the first of these that has it: kcptun's JSON file (``-c``), the command line, the
environment, the default.  That the file comes first is kcptun's way, and often a surprise: what it
overrides is said.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kcpstack.options.jsonfile import JSONFile
from kcpstack.options.settings import SETTINGS, Settings
from kcpstack.options.table import MODES, RESTART, TABLE, Mode, Option, dashed, optionsOf
from kcpstack.seams import checkLayers

__all__ = ["Configuration", "restartless", "shown", "unwritable"]


@dataclass(frozen=True)
class _Given:
    """A value as text, and where it stood."""

    text: str
    source: str  # for an error: how one would find it
    origin: str  # for --explain


class Configuration:
    """The settings of one command, where each comes from, and what should be said of them.

    ``texts`` are the command line's values by option name, and ``readFile(path)`` returns a file's
    bytes.  Raises ValueError whose message is one line: the option, its text, what would do."""

    def __init__(
        self,
        role: str,
        texts: Mapping[str, str],
        environ: Mapping[str, str],
        readFile: Callable[[str], bytes] | None = None,
    ) -> None:
        self.role = role
        self.remarks: list[str] = []  # a line each, for the log at the start
        self._texts = texts
        self._environ = environ
        self._readFile = readFile or _fileReader(os.getcwd())
        self._origins: dict[str, str] = {}
        self.settings = self._settle()
        checkLayers(self.settings)
        self.remarks += self.settings.doubts()

    @property
    def path(self) -> str:
        """The JSON file's; empty where there is none."""
        return self._texts.get("c", "")

    def reread(self) -> Configuration:
        """The same command line with the file as it is now.  Raises ValueError, as at the start."""
        return Configuration(self.role, self._texts, self._environ, self._readFile)

    def origin(self, name: str) -> str:
        """Where the value of an option comes from, in a few words."""
        mode = self.settings.mode
        if name in Mode._fields and mode in MODES:
            return f"--mode {mode}"
        return self._origins.get(name, "default")

    def _settle(self) -> Settings:
        file = JSONFile(self.role, self.path, self._readFile) if self.path else None
        self.remarks += file.remarks if file else ()
        values: dict[str, Any] = {}
        for option in optionsOf(self.role):
            places = self._places(option, file)
            for given in places:  # also what is overridden: a mistake there should not wait to be found
                value = _parsed(option, given)
                if given is places[0]:
                    values[option.name] = value
                    self._origins[option.name] = given.origin
                elif places[0].origin == self.path and values[option.name] != value:
                    self._overridden(option, places[0], given)
        return SETTINGS[self.role](**{name: value for name, value in values.items() if _isSetting(name)})

    def _places(self, option: Option, file: JSONFile | None) -> list[_Given]:
        """All that was given for an option, what counts first."""
        places = []
        if file is not None and option.name in file.texts:
            key = f'"{option.jsonKey}"'
            places.append(_Given(file.texts[option.name], f"{self.path}: {key}:", self.path))
        if option.name in self._texts:
            places.append(_Given(self._texts[option.name], dashed(option.name), "command line"))
        if self._environ.get(option.environment):
            places.append(_Given(self._environ[option.environment], option.environment, option.environment))
        return places

    def _overridden(self, option: Option, winner: _Given, loser: _Given) -> None:
        name = f"{loser.source} of the {'command line' if loser.source == dashed(option.name) else 'environment'}"
        values = "" if option.secret else f" ({shown(winner.text)}, not {shown(loser.text)})"
        self.remarks.append(f"{winner.origin} overrides {name}{values}")


def restartless(role: str, before: Settings, after: Settings) -> Settings:
    """``after``, but for what needs a restart to change, which stays as ``before`` has it."""
    kept = {
        option.name: getattr(before, option.name)
        for option in optionsOf(role)
        if option.setting and option.reloadFor(role) == RESTART
    }
    return dataclasses.replace(after, **kept)


def shown(text: str) -> str:
    """A user's text in one short line."""
    plain = text.isprintable() and " " not in text and text
    return (text if plain else repr(text))[:SHOWN_MAX]


def unwritable(path: str, error: OSError) -> ValueError:
    """What to raise where the file of ``--log`` cannot be opened."""
    return ValueError(f"--log {shown(path)}: {error.strerror}: give a file that this user can write")


def _parsed(option: Option, given: _Given) -> Any:
    try:
        return option.kind.parse(given.text)
    except ValueError as error:
        raise ValueError(f"{given.source} {shown(given.text)}: {error}") from None


def _isSetting(name: str) -> bool:
    return any(option.setting for option in TABLE if option.name == name)


def _fileReader(folder: str) -> Callable[[str], bytes]:
    """What reads files as from ``folder``: a daemon changes its working directory, and reads again."""

    def contents(path: str) -> bytes:
        with open(os.path.join(folder, path), "rb") as file:
            return file.read(FILE_MAX)

    return contents


SHOWN_MAX = 80  # characters of a wrong value that are repeated to the user
FILE_MAX = 1 << 20  # bytes; a configuration has a few hundred
