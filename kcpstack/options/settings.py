"""What the stack is built from: the options' values, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcpstack.options.table import CLIENT, MODES, NOT_YET, SERVER, SHARDS_MAX, TABLE, optionsOf
from kcpstack.options.values import Address, Target

__all__ = ["ClientSettings", "ServerSettings", "Settings", "settingsFrom", "shown"]

def _default(name: str, role: str = CLIENT) -> Any:
    """The default of a field, from the table."""
    (option,) = (option for option in optionsOf(role) if option.name == name)
    return option.defaultFor(role)


@dataclass(frozen=True)
class Settings:
    """The options both commands have, as values; the field names are the options' names.

    ``nodelay``, ``interval``, ``resend`` and ``nc`` are those of ``mode`` unless it is one of
    ``BY_VALUES``.  Raises ValueError (one line, for the user) where values contradict each other;
    each on its own is checked by ``settingsFrom``.
    """

    key: str = _default("key")
    crypt: str = _default("crypt")
    mode: str = _default("mode")
    nodelay: int = _default("nodelay")
    interval: int = _default("interval")
    resend: int = _default("resend")
    nc: int = _default("nc")
    mtu: int = _default("mtu")
    sndwnd: int = _default("sndwnd")
    rcvwnd: int = _default("rcvwnd")
    acknodelay: bool = _default("acknodelay")
    sockbuf: int = _default("sockbuf")
    datashard: int = _default("datashard")
    parityshard: int = _default("parityshard")
    nocomp: bool = _default("nocomp")
    smuxver: int = _default("smuxver")
    smuxbuf: int = _default("smuxbuf")
    streambuf: int = _default("streambuf")
    framesize: int = _default("framesize")
    keepalive: int = _default("keepalive")
    quiet: bool = _default("quiet")
    snmplog: str = _default("snmplog")
    snmpperiod: int = _default("snmpperiod")

    def __post_init__(self) -> None:
        for name, value in MODES[self.mode]._asdict().items() if self.mode in MODES else ():
            object.__setattr__(self, name, value)
        if self.datashard + self.parityshard > SHARDS_MAX:
            raise ValueError(
                f"--datashard {self.datashard} --parityshard {self.parityshard}: "
                f"give two numbers that add up to {SHARDS_MAX} at most"
            )
        if self.streambuf > self.smuxbuf:
            raise ValueError(
                f"--streambuf {self.streambuf}: give at most what --smuxbuf is ({self.smuxbuf} bytes)"
            )


@dataclass(frozen=True)
class ClientSettings(Settings):
    """What a client is built from."""

    localaddr: Address = _default("localaddr", CLIENT)  # noqa: RUF009 - an immutable value
    remoteaddr: Address = _default("remoteaddr", CLIENT)  # noqa: RUF009 - an immutable value


@dataclass(frozen=True)
class ServerSettings(Settings):
    """What a server is built from."""

    sndwnd: int = _default("sndwnd", SERVER)
    rcvwnd: int = _default("rcvwnd", SERVER)
    listen: Address = _default("listen", SERVER)  # noqa: RUF009 - an immutable value
    target: Target = _default("target", SERVER)  # noqa: RUF009 - an immutable value


SETTINGS: dict[str, type[Settings]] = {CLIENT: ClientSettings, SERVER: ServerSettings}


def settingsFrom(role: str, texts: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """The settings of one command from its options' texts by name, then the environment, then the
    defaults.  Raises ValueError whose message is one line: the option, its text, what would do."""
    values: dict[str, Any] = {}
    for option in optionsOf(role, TABLE + NOT_YET):
        text, source = texts.get(option.name), f"--{option.name}"
        if text is None and environ.get(option.environment):
            text, source = environ[option.environment], option.environment
        if text is None:
            continue
        try:
            values[option.name] = option.kind.parse(text)
        except ValueError as error:
            raise ValueError(f"{source} {shown(text)}: {error}") from None
    return SETTINGS[role](**values)


def shown(text: str) -> str:
    """A user's text in one short line."""
    plain = text.isprintable() and " " not in text and text
    return (text if plain else repr(text))[:SHOWN_MAX]


SHOWN_MAX = 80  # characters of a wrong value that are repeated to the user
