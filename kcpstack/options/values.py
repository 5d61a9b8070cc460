"""What an option's value may be: from its text to a Python value, or one clear sentence.

A *kind* has ``parse(text)``, which returns the value or raises ValueError; its message starts with
a verb and says what would do, so that a line made of option, text and message reads as a sentence:
``--mtu 9000: give a whole number from 100 to 1500``.  ``accepts`` is the same in a few words and
``unit`` what a number counts, for the help and the documentation.  ``takes`` is the type that
kcptun's JSON file has for it.  Addresses are kinds of their own: addresses.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

__all__ = ["Choice", "Kind", "Refused", "Text", "WholeNumber", "YesOrNo"]

# What Go's flag package takes for a boolean (strconv.ParseBool), compared in lower case.
YES = ("1", "t", "true")
NO = ("0", "f", "false")


@dataclass(frozen=True)
class WholeNumber:
    """An int from ``low`` to ``high``, both allowed."""

    low: int
    high: int
    unit: str = ""
    takes = int

    @property
    def accepts(self) -> str:
        return f"{self.low} to {self.high}" if self.high - self.low > 1 else f"{self.low} or {self.high}"

    def parse(self, text: str) -> int:
        digits = text[1:] if text[:1] in "+-" else text
        # isdigit alone takes other scripts' digits; the length bound keeps int() cheap.
        number = int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
        if number is None or not self.low <= number <= self.high:
            if self.high - self.low <= 1:
                raise ValueError(f"give {self.accepts}")
            unit = f" {self.unit}" if self.unit else ""
            raise ValueError(f"give a whole number from {self.low} to {self.high}{unit}")
        return number


@dataclass(frozen=True)
class YesOrNo:
    """A switch: true without a value, as in Go, and any of Go's words with one."""

    accepts = "true or false"
    unit = ""
    takes = bool

    def parse(self, text: str) -> bool:
        if text.lower() in YES:
            return True
        if text.lower() in NO:
            return False
        raise ValueError("give true or false, or leave the value out for true")


@dataclass(frozen=True)
class Text:
    """Any text; none at all where it is ``optional``."""

    optional: bool = False
    accepts = "any text"
    unit = ""
    takes = str

    def parse(self, text: str) -> str:
        if not text and not self.optional:
            raise ValueError("give at least one character")
        return text


@dataclass(frozen=True)
class Choice:
    """One of the names that ``names()`` returns; asked anew each time, for plug-ins add to them."""

    names: Callable[[], Sequence[str]]
    unit = ""
    takes = str

    @property
    def accepts(self) -> str:
        return ", ".join(self.names())

    def parse(self, text: str) -> str:
        if text not in self.names():
            raise ValueError(f"give one of {self.accepts}")
        return text


@dataclass(frozen=True)
class Refused:
    """A switch of kcptun's that we do not have: off is accepted, on is not, for ``reason``.  Leaving it
    out in silence would be worse."""

    reason: str
    accepts = "false"
    unit = ""
    takes = bool

    def parse(self, text: str) -> bool:
        if YesOrNo().parse(text):
            raise ValueError(f"leave it out: {self.reason}")
        return False


class Kind(Protocol):
    """What all of these, and those of addresses.py, have."""

    @property
    def accepts(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def takes(self) -> type: ...

    def parse(self, text: str) -> Any: ...
