"""What the stack is built from: the options' values, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from kcpstack.options.addresses import Address, Target, UnixAddress
from kcpstack.options.table import CLIENT, MODES, SERVER, SHARDS_MAX, TABLE, Option, optionsOf

__all__ = ["ClientSettings", "SETTINGS", "ServerSettings", "Settings"]


def _default(name: str, role: str = CLIENT) -> Any:
    """The default of a field, from the table."""
    (option,) = (option for option in optionsOf(role) if option.name == name)
    return option.defaultFor(role)


@dataclass(frozen=True)
class Settings:
    """The options both commands have, as values; the field names are the options' names.

    ``nodelay``, ``interval``, ``resend`` and ``nc`` are those of ``mode`` unless it is one of
    ``BY_VALUES``.  Raises ValueError (one line, for the user) where values contradict each other;
    each on its own is checked by its kind."""

    key: str = field(default=_default("key"), repr=False)  # as every option that is ``secret``
    crypt: str = _default("crypt")
    erasure: str = _default("erasure")
    compressor: str = _default("compressor")
    congestion: str = _default("congestion")
    transport: str = _default("transport")
    QPP: bool = _default("QPP")
    QPPCount: int = _default("QPPCount")
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
    ratelimit: int = _default("ratelimit")
    dscp: int = _default("dscp")
    datashard: int = _default("datashard")
    parityshard: int = _default("parityshard")
    nocomp: bool = _default("nocomp")
    smuxver: int = _default("smuxver")
    smuxbuf: int = _default("smuxbuf")
    streambuf: int = _default("streambuf")
    framesize: int = _default("framesize")
    keepalive: int = _default("keepalive")
    closewait: int = _default("closewait")
    log: str = _default("log")
    quiet: bool = _default("quiet")
    snmplog: str = _default("snmplog")
    snmpperiod: int = _default("snmpperiod")
    trace: str = _default("trace")
    pprof: bool = _default("pprof")

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

    def changed(self, newer: Settings) -> Sequence[Option]:
        """The options whose values ``newer`` has otherwise, in table order."""
        names = [field.name for field in fields(self)]
        options = (option for option in TABLE if option.name in names)
        return [option for option in options if getattr(self, option.name) != getattr(newer, option.name)]

    def doubts(self) -> Sequence[str]:
        """What is allowed, but hardly what the user wants: a line each."""
        found = []
        if self.key == _default("key"):
            found.append(
                "The key is kcptun's well-known default, with which anybody can read and use this tunnel: "
                "give both ends a --key of your own, or set KCPTUN_KEY"
            )
        if 0 < self.ratelimit < RATE_USABLE:
            found.append(
                f"--ratelimit {self.ratelimit}: that is less than a datagram a second, and sessions hardly live on it; "
                "it counts bytes, not kilobytes"
            )
        if self.QPP and self.QPPCount % 2 == 0:
            found.append(f"--QPPCount {self.QPPCount}: an even number ties each pad to the bytes it masks; best is a prime, as 61")
        return found


@dataclass(frozen=True)
class ClientSettings(Settings):
    """What a client is built from."""

    localaddr: Address | UnixAddress = _default("localaddr", CLIENT)  # noqa: RUF009 - an immutable value
    remoteaddr: Address = _default("remoteaddr", CLIENT)  # noqa: RUF009 - an immutable value
    conn: int = _default("conn", CLIENT)
    autoexpire: int = _default("autoexpire", CLIENT)
    scavengettl: int = _default("scavengettl", CLIENT)

    def doubts(self) -> Sequence[str]:
        """See Settings."""
        found = list(super().doubts())
        if 0 < self.autoexpire < self.scavengettl:
            found.append(
                f"--scavengettl {self.scavengettl} is more than --autoexpire {self.autoexpire}: with streams that "
                "last, several sessions share the path; give less of it, or more of the other"
            )
        return found


@dataclass(frozen=True)
class ServerSettings(Settings):
    """What a server is built from."""

    sndwnd: int = _default("sndwnd", SERVER)
    rcvwnd: int = _default("rcvwnd", SERVER)
    closewait: int = _default("closewait", SERVER)
    listen: Address = _default("listen", SERVER)  # noqa: RUF009 - an immutable value
    target: Target = _default("target", SERVER)  # noqa: RUF009 - an immutable value
    workers: int = _default("workers", SERVER)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workers > 1 and self.trace:
            raise ValueError(f"--workers {self.workers}: give 1 with --trace, which is of one process")


SETTINGS: dict[str, type[Settings]] = {CLIENT: ClientSettings, SERVER: ServerSettings}
RATE_USABLE = 1000  # bytes a second
