"""What the keywords of an endpoint mean: the option table's rows, as values or texts, to settings.

There is no list of keywords here.  An endpoint has every row of its role in kcpstack/options/table.py but those of the
groups in NOT_HERE: addresses, for it has arguments of its own for these, and what is about a process.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from kcpstack.options import Address, ClientSettings, Option, ServerSettings, Settings, optionsOf
from kcpstack.options.addresses import DialAddress, ListenAddress
from kcpstack.options.configuration import shown
from kcpstack.options.settings import SETTINGS
from kcpstack.options.table import ADDRESSES, CLIENT, CONFIGURATION, MESSAGES, PROCESSES, SERVER, TABLE
from kcpstack.options.values import YesOrNo
from kcpstack.seams import checkLayers

__all__ = ["OWN", "asKeywords", "checkKeywords", "clientSettings", "environment", "givenClosewait", "keywordsOf", "serverSettings", "yesOrNo"]

NOT_HERE = (ADDRESSES, CONFIGURATION, PROCESSES, MESSAGES)

# What an endpoint takes besides: its own arguments, in the order in which a string may leave their names out.
OWN: dict[str, Sequence[str]] = {CLIENT: ("host", "port", "timeout", "mux"), SERVER: ("port", "interface", "mux")}

# Where an endpoint's default is another than the command's: nobody waits for connections unless asked to.
DEFAULTS = {"closewait": 0}

# The client's options that say how streams share sessions.
SHARING = ("conn", "autoexpire", "scavengettl")


def keywordsOf(role: str) -> list[Option]:
    """The rows that are keywords of an endpoint, of ``"client"`` or ``"server"``, in table order."""
    return [option for option in optionsOf(role) if option.group not in NOT_HERE]


def clientSettings(host: str, port: int | str | range, mux: bool, options: Mapping[str, Any]) -> ClientSettings:
    """The settings of a client's endpoint.  ``port`` is a number, a range or a text of either.

    Raises ValueError, one line for the user, as the following do."""
    values = _values(CLIENT, options)
    for name in SHARING:
        if name in values and not mux:
            raise ValueError(f"{name}={values[name]}: say mux=yes too; without it each connection has a session of its own")
    if not host:
        raise ValueError("host: give the server's name or address")
    address = _address("port", port, DialAddress(ranges=True), host)
    return cast(ClientSettings, _checked(CLIENT, {**values, "remoteaddr": address}))


def serverSettings(port: int | str | range, interface: str, options: Mapping[str, Any]) -> ServerSettings:
    """The settings of a server's endpoint.  ``port`` as above, or 0."""
    values = _values(SERVER, options)
    address = _address("port", port, ListenAddress(ranges=True), interface)
    return cast(ServerSettings, _checked(SERVER, {**values, "listen": address}))


def givenClosewait(settings: Settings, options: Mapping[str, Any]) -> float | None:
    """The ``closewait`` of ``settings``, which were made of ``options``, if these have one."""
    return settings.closewait if "closewait" in options else None


def environment(role: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """``options``, with what is not given taken from the environment where the table has a variable for it."""
    rows = (option for option in keywordsOf(role) if environ.get(option.environment) and option.name not in options)
    return {**{option.name: environ[option.environment] for option in rows}, **options}


def yesOrNo(name: str, value: Any) -> bool:
    """A switch, as a bool or in words.  ``name`` is for the error."""
    text = str(value).lower()
    try:
        return YesOrNo().parse(SWITCHES.get(text, text))
    except ValueError:
        raise ValueError(f"{name}={shown(str(value))}: give yes or no") from None


def checkKeywords(role: str, names: Iterable[str]) -> None:
    """Raises ValueError where one of ``names`` is no option of an endpoint."""
    rows = _rows(role)
    for name in names:
        if name not in rows:
            raise ValueError(f"{shown(name)}: {_whyNot(role, name, rows)}")


def _rows(role: str) -> dict[str, Option]:
    return {name: option for option in keywordsOf(role) for name in (option.name, *option.aliases)}


def _values(role: str, options: Mapping[str, Any]) -> dict[str, Any]:
    checkKeywords(role, options)
    rows = _rows(role)
    values: dict[str, Any] = {}
    for name, value in options.items():
        option = rows[name]
        if option.name in values:
            raise ValueError(f"{name}: {option.name} is given already; give it once")
        values[option.name] = _value(option, name, value)
    return values


def _value(option: Option, name: str, value: Any) -> Any:
    if isinstance(option.kind, YesOrNo):
        return yesOrNo(name, value)
    try:
        if not isinstance(value, str) and (option.kind.takes is str or type(value) is not option.kind.takes):
            raise ValueError(f"give a text{'' if option.kind.takes is str else ' or a number'}")
        return option.kind.parse(str(value))
    except ValueError as error:
        given = "" if option.secret else shown(str(value))
        raise ValueError(f"{name}={given}: {error}") from None


def _whyNot(role: str, name: str, rows: Mapping[str, Option]) -> str:
    """Why an endpoint of this role has no such keyword, and what would do."""
    other = SERVER if role == CLIENT else CLIENT
    known = [option for option in TABLE if name in (option.name, option.short, *option.aliases)]
    if any(option in keywordsOf(other) for option in known) or name in OWN[other]:
        return f"only a {other}'s endpoint has that; leave it out"
    if any(option.group == ADDRESSES for option in known):
        return f"give the address by {' and '.join(OWN[role][:2])}"
    if known:
        return "that is an option of the command kcptun, not of an endpoint; leave it out"
    names = {each.lower(): each for each in (*OWN[role], *rows)}
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return "no such keyword" + (f"; did you mean {names[near[0]]}?" if near else "")


def _address(name: str, port: int | str | range, kind: DialAddress | ListenAddress, host: str) -> Address:
    if isinstance(port, range):
        if not port or port.step != 1:
            raise ValueError(f"{name}={port}: give a range of at least one port, each next to the last")
        port = f"{port[0]}-{port[-1]}"
    elif isinstance(port, int):
        port = str(port)
    bracketed = f"[{host}]" if ":" in host else host
    try:
        return cast(Address, kind.parse(f"{bracketed}:{port}"))
    except ValueError as error:
        if "port" not in str(error):
            raise ValueError(f"host {shown(host)}: {error}") from None
        text = str(error).replace(" after the last colon", ", or a range as in 3000-3010")
        raise ValueError(f"{name}={shown(str(port))}: {text}") from None


def _checked(role: str, values: Mapping[str, Any]) -> Settings:
    try:
        settings = SETTINGS[role](**{**DEFAULTS, **values})
        checkLayers(settings)
    except ValueError as error:
        raise ValueError(asKeywords(str(error))) from None
    return settings


def asKeywords(text: str) -> str:
    """What the command says of its options, for whoever has given keywords."""
    return re.sub(r"--(?=[A-Za-z])", "", text)


SWITCHES = {"yes": "true", "no": "false"}  # as endpoint strings have them, besides Go's words
