"""Addresses as options give them: kinds as in values.py, and what they parse to.

Nothing here looks names up or touches the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Union

from kcpstack.options.values import WholeNumber
from kcpstack.seams import RELAY_TARGETS

__all__ = ["Address", "DialAddress", "ListenAddress", "RelayTarget", "Target", "TargetAddress", "UnixAddress"]

PORT_MAX = 65535
LABEL_MAX = 63  # characters between two dots of a host name (RFC 1035, section 2.3.4)
PATH_MAX = 107  # bytes in a Unix socket's address, without its end (unix(7))


class Address(NamedTuple):
    """A host, and a port or a range of ports.  ``host`` is a name or a literal, IPv6 without
    brackets; empty means every interface where it is listened on.  ``last`` is the last port of a
    range, 0 where there is only one."""

    host: str
    port: int
    last: int = 0

    @property
    def ports(self) -> range:
        """All its ports."""
        return range(self.port, max(self.port, self.last) + 1)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}-{self.last}" if self.last else f"{host}:{self.port}"


class UnixAddress(NamedTuple):
    """The path of a Unix stream socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


class RelayTarget(NamedTuple):
    """An installed relay target, and what it is told."""

    name: str
    argument: str = ""

    def __str__(self) -> str:
        return f"@{self.name}:{self.argument}" if self.argument else f"@{self.name}"


Target = Union[Address, UnixAddress, RelayTarget]


@dataclass(frozen=True)
class ListenAddress:
    """An address to listen on: ``:port`` is every interface; port 0 lets the system choose.
    ``paths``: the path of a Unix socket will do as well; ``ranges``: so will host:first-last."""

    paths: bool = False
    ranges: bool = False
    unit = ""
    takes = str

    @property
    def accepts(self) -> str:
        ranges = ", a range host:first-last" if self.ranges else ""
        return f"host:port, :port, [IPv6]:port{ranges}{', or the path of a Unix socket' * self.paths}"

    def parse(self, text: str) -> Target:
        path = _path(text) if self.paths else None
        return path or _hostAndPorts(text, lowestPort=0, ranges=self.ranges)


@dataclass(frozen=True)
class DialAddress:
    """An address to connect to.  As in Go, an empty host means this machine."""

    ranges: bool = False
    unit = ""
    takes = str

    @property
    def accepts(self) -> str:
        return "host:port, [IPv6]:port, a range host:first-last" if self.ranges else "host:port or [IPv6]:port"

    def parse(self, text: str) -> Address:
        address = _hostAndPorts(text, lowestPort=1, ranges=self.ranges)
        return address._replace(host=address.host or "127.0.0.1")


@dataclass(frozen=True)
class TargetAddress:
    """An address to connect to over TCP, the path of a Unix socket, or an installed relay target."""

    accepts = (
        "host:port, [IPv6]:port, the path of a Unix socket (with a slash in it, or unix:...), or @NAME, @NAME:ARGUMENT"
    )
    unit = ""
    takes = str

    def parse(self, text: str) -> Target:
        return _relayTarget(text) or _path(text) or DialAddress().parse(text)


def _relayTarget(text: str) -> RelayTarget | None:
    if not text.startswith("@"):
        return None
    name, _, argument = text[1:].partition(":")
    try:
        RELAY_TARGETS.find(name)
    except ValueError as error:
        names, why = ", ".join(RELAY_TARGETS.names()), str(error).partition("; there are")[0]
        raise ValueError(f"give an address, or @ and one of {names} ({why})") from None
    return RelayTarget(name, argument)


def _path(text: str) -> UnixAddress | None:
    """A text that starts with ``unix:`` or ``.``, or has a slash in it, is a path."""
    marked = text.startswith("unix:")
    if not marked and "/" not in text and not text.startswith("."):
        return None
    path = text[len("unix:") :] if marked else text
    if not path:
        raise ValueError("give the path of the Unix socket after unix:")
    if "\0" in path or len(path.encode("utf-8", "surrogateescape")) > PATH_MAX:
        raise ValueError(f"give a path of at most {PATH_MAX} bytes")
    return UnixAddress(path)


def _hostAndPorts(text: str, lowestPort: int, ranges: bool) -> Address:
    """Cut ``host:port`` or ``host:first-last``; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("give host and port, as in example.org:29900")
    if not host.isprintable() or any(character.isspace() for character in host):
        raise ValueError("give a host without spaces and unprintable characters")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("give an IPv6 address inside the brackets, as in [::1]:29900")
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError("give an IPv6 address in brackets, as in [::1]:29900")
    else:
        _checkName(host)
    first, dash, last = port.partition("-")
    if not dash:
        return Address(host, _port(port, lowestPort))
    if not ranges:
        raise ValueError("give one port; there is no use for a range here")
    low, high = _port(first, 1), _port(last, 1)
    if low > high:
        raise ValueError("give the lower port of the range first, as in 3000-3010")
    return Address(host, low, high if high > low else 0)


def _port(text: str, lowest: int) -> int:
    try:
        return WholeNumber(lowest, PORT_MAX).parse(text)
    except ValueError:
        raise ValueError(f"give a port from {lowest} to {PORT_MAX} after the last colon") from None


def _checkName(host: str) -> None:
    labels = host[:-1].split(".") if host.endswith(".") else host.split(".")
    if host and not all(0 < len(label) <= LABEL_MAX for label in labels):
        raise ValueError(f"give a host whose parts, between its dots, have 1 to {LABEL_MAX} characters")
