"""What an option's value may be: from its text to a Python value, or one clear sentence.

A *kind* has ``parse(text)``, which returns the value or raises ValueError; its message starts with
a verb and says what would do, so that a line made of option, text and message reads as a sentence:
``--mtu 9000: give a whole number from 100 to 1500``.  ``accepts`` is the same in a few words and
``unit`` what a number counts, for the help and the documentation.  Nothing here looks names up or
touches the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, NamedTuple, Union

__all__ = [
    "Address",
    "Choice",
    "DialAddress",
    "Kind",
    "ListenAddress",
    "NotYet",
    "Target",
    "TargetAddress",
    "Text",
    "UnixAddress",
    "WholeNumber",
    "YesOrNo",
]

PORT_MAX = 65535

# What Go's flag package takes for a boolean (strconv.ParseBool), compared in lower case.
YES = ("1", "t", "true")
NO = ("0", "f", "false")


class Address(NamedTuple):
    """A host and a port.  ``host`` is a name or a literal, IPv6 without brackets; empty means
    every interface where it is listened on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UnixAddress(NamedTuple):
    """The path of a Unix stream socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Target = Union[Address, UnixAddress]


@dataclass(frozen=True)
class WholeNumber:
    """An int from ``low`` to ``high``, both allowed."""

    low: int
    high: int
    unit: str = ""

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

    def parse(self, text: str) -> str:
        if not text and not self.optional:
            raise ValueError("give at least one character")
        return text


@dataclass(frozen=True)
class Choice:
    """One of the names that ``names()`` returns; asked anew each time, for plug-ins add to them."""

    names: Callable[[], Sequence[str]]
    unit = ""

    @property
    def accepts(self) -> str:
        return ", ".join(self.names())

    def parse(self, text: str) -> str:
        if text not in self.names():
            raise ValueError(f"give one of {self.accepts}")
        return text


@dataclass(frozen=True)
class ListenAddress:
    """An address to listen on: ``:port`` is every interface; port 0 lets the system choose."""

    accepts = "host:port, :port or [IPv6]:port"
    unit = ""

    def parse(self, text: str) -> Address:
        return Address(*_hostAndPort(text, lowestPort=0))


@dataclass(frozen=True)
class DialAddress:
    """An address to connect to.  As in Go, an empty host means this machine."""

    accepts = "host:port or [IPv6]:port"
    unit = ""

    def parse(self, text: str) -> Address:
        host, port = _hostAndPort(text, lowestPort=1)
        return Address(host or "127.0.0.1", port)


@dataclass(frozen=True)
class TargetAddress:
    """An address to connect to over TCP, or the path of a Unix socket: a text that starts with
    ``unix:``, ``/`` or ``.``"""

    accepts = "host:port, [IPv6]:port, or the path of a Unix socket (/..., ./... or unix:...)"
    unit = ""

    def parse(self, text: str) -> Target:
        path = text[len("unix:") :] if text.startswith("unix:") else text if text[:1] in ("/", ".") else None
        if path is None:
            return DialAddress().parse(text)
        if not path:
            raise ValueError("give the path of the Unix socket after unix:")
        return UnixAddress(path)


@dataclass(frozen=True)
class NotYet:
    """An option of kcptun's that we do not have.  Leaving it out in silence would be worse."""

    accepts = ""
    unit = ""

    def parse(self, text: str) -> Any:
        raise ValueError("leave it out; kcptun has this option, kcpstack does not yet")


Kind = Any  # anything with ``accepts``, ``unit`` and ``parse``


def _hostAndPort(text: str, lowestPort: int) -> tuple[str, int]:
    """Cut ``host:port``; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("give host and port, as in example.org:29900")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("give an IPv6 address inside the brackets, as in [::1]:29900")
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError("give an IPv6 address in brackets, as in [::1]:29900")
    if any(character.isspace() for character in host):
        raise ValueError("give a host without spaces")
    first, dash, last = port.partition("-")
    if dash and first.isdigit() and last.isdigit():
        raise ValueError("give one port; ranges of ports are not supported yet")
    try:
        number = WholeNumber(lowestPort, PORT_MAX).parse(port)
    except ValueError:
        raise ValueError(f"give a port from {lowestPort} to {PORT_MAX} after the last colon") from None
    return host, number
