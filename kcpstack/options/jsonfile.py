"""kcptun's JSON file: one object, whose keys are options' names.

Read as Go reads it: the case of keys does not matter, null is as good as nothing, keys that nobody
knows do no harm, and what follows the object is not looked at.  But what Go passes over in silence is
remarked upon here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable
from typing import Any

from kcpstack.options.table import BOTH, Option, optionsOf

__all__ = ["JSONFile"]


class JSONFile:
    """One file, read for one command.

    ``texts`` has the values by option name, as the command line would have them, and ``remarks`` a line
    each on what is odd.  Raises ValueError with one line for the user where the file cannot be read, or
    is no JSON, or a value has a type that its option does not take."""

    def __init__(self, role: str, path: str, readFile: Callable[[str], bytes]) -> None:
        self.texts: dict[str, str] = {}
        self.remarks: list[str] = []
        self._role = role
        self._path = path
        self._options = {option.jsonKey.lower(): option for option in optionsOf(role) if option.jsonKey}
        for key, value in self._pairs(readFile):
            self._take(key, value)

    def _pairs(self, readFile: Callable[[str], bytes]) -> list[tuple[str, Any]]:
        """The object's keys and values, in order, and as often as they are there."""
        try:
            text = readFile(self._path).decode("utf-8-sig").lstrip()
            if not text:
                raise ValueError(f'-c {self._path}: the file is empty: give at least {{}}')
            pairs, end = json.JSONDecoder(object_pairs_hook=_Pairs).raw_decode(text)
        except OSError as error:
            raise ValueError(f"-c {self._path}: {error.strerror}: give a file that can be read") from None
        except UnicodeDecodeError:
            raise ValueError(f"-c {self._path}: this is no text: give a JSON file in UTF-8") from None
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise ValueError(f"-c {self._path}: no JSON at {where}: {error.msg}") from None
        except RecursionError:
            raise ValueError(f"-c {self._path}: nested too deeply: give one JSON object") from None
        if not isinstance(pairs, _Pairs):
            raise ValueError(f'-c {self._path}: give a JSON object, as in {{"key": "secret"}}')  # noqa: TRY004 - the user's
        if text[end:].strip():
            self.remarks.append(f"{self._path}: what follows the first object is not read")
        return pairs

    def _take(self, key: str, value: Any) -> None:
        option = self._options.get(key.lower())
        if option is None:
            self.remarks.append(f"{self._path}: unknown key {json.dumps(key)[:SHOWN_MAX]}{self._hint(key)}")
            return
        if value is None:
            return
        if option.name in self.texts:
            self.remarks.append(f'{self._path}: "{option.jsonKey}" is there more than once; the last one counts')
        self.texts[option.name] = self._text(option, value)

    def _text(self, option: Option, value: Any) -> str:
        """The value as the command line would have it."""
        takes = option.kind.takes
        if isinstance(value, str) and (takes is str or value.strip() == value != ""):
            return SURROGATE.sub("\ufffd", value)
        if type(value) is takes:
            return str(value).lower()
        if option.secret:
            given = "(not shown)"
        else:
            given = "an object" if isinstance(value, _Pairs) else json.dumps(value)[:SHOWN_MAX]
        raise ValueError(f'{self._path}: "{option.jsonKey}": {given}: give {TYPES[takes]}')

    def _hint(self, key: str) -> str:
        others = (option for role in BOTH for option in optionsOf(role) if role != self._role)
        if key.lower() in {option.jsonKey.lower() for option in others}:
            (other,) = (role for role in BOTH if role != self._role)
            return f" (of the {other}; it is ignored here)"
        near = self._spelt(key) or difflib.get_close_matches(key.lower(), self._options, n=1)
        return f" (did you mean \"{near[0]}\"?); it is ignored" if near else " is ignored"

    def _spelt(self, key: str) -> list[str]:
        """The key of the option that the command line knows by this name."""
        return [option.jsonKey for option in self._options.values() if key in (option.short, *option.aliases)]


class _Pairs(list[tuple[str, object]]):
    """An object as its pairs, to be told from an array."""


SURROGATE = re.compile("[\ud800-\udfff]")  # half of a character, which no UTF-8 can have; Go puts the same there
TYPES = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
SHOWN_MAX = 80  # characters of what is wrong that are repeated to the user
