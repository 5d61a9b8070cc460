"""The targets by name.  Each is a module of this name beside this one, imported when it is wanted, so that
atheris can instrument what it imports.

A target has ``check(data)``, which takes any bytes and raises (AssertionError, mostly) where a promise is
broken, and ``seeds()``, which gives inputs to begin with.  Both depend on nothing but their arguments: the
same bytes do the same.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["TARGETS", "load"]

TARGETS = {
    "addresses": "addresses and numbers of options",
    "ciphers": "sealed datagrams, every cipher",
    "commandline": "the command line",
    "erasure": "shards of a group, Reed-Solomon",
    "fanout": "whose an opened datagram is",
    "fec": "opened datagrams with FEC, a whole decoder",
    "glimpse": "the first look at an opened datagram",
    "gotime": "Go's time layouts",
    "jsonfile": "the JSON file, and the settings made from it",
    "qpp": "padded bytes of a stream",
    "recognise": "the first bytes of a session: compressed or not",
    "segments": "KCP datagrams, a whole ARQ and its path check",
    "server": "opened datagrams of strangers, a whole server beside an honest client",
    "smux": "a peer's frames and an application's calls, a whole session",
    "smuxframes": "smux frames",
    "snappy": "a snappy stream",
}
"""What each of them reads."""


def load(name: str) -> Any:
    """The module of a target.  Raises ValueError for a name that is none."""
    if name not in TARGETS:
        raise ValueError(f"no target {name}: give one of {', '.join(TARGETS)}")
    return importlib.import_module(f"{__name__}.{name}")
