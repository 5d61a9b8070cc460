"""``kcp:`` in Twisted's endpoint strings: plug-ins for ``serverFromString`` and ``clientFromString``.

::

    kcp:29900:key=...:crypt=aes-128-gcm:interface=127.0.0.1          a server
    kcp:3000-3010:key=...                                           the same on a range of ports
    kcp:vps.example.org:29900:key=...:timeout=10:mux=yes             a client
    kcp:host=vps.example.org:port=29900:key=...                     the same by keywords

What is imported for the work itself waits until there is some: every Twisted program that reads any endpoint string
loads this module.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

__all__ = ["ClientParser", "ServerParser"]

PREFIX = "kcp"


@implementer(IPlugin, IStreamServerEndpointStringParser)
class ServerParser:
    """For servers.  ``environ`` is where a secret may be that the string leaves out."""

    prefix = PREFIX

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    def parseStreamServer(  # type: ignore[override]  # "reactor" is positional only, and what is parsed are texts
        self, reactor: Any, /, *args: str, **kwargs: str
    ) -> IStreamServerEndpoint:
        """See IStreamServerEndpointStringParser.  Raises ValueError, one line that names the keyword."""
        from kcpstack.endpointoptions import environment, yesOrNo
        from kcpstack.endpoints import KCPServerEndpoint
        from kcpstack.options.table import SERVER

        keywords = _named(SERVER, args, kwargs)
        port = _required(keywords, "port", "a UDP port, or a range as in 3000-3010")
        interface = keywords.pop("interface", "")
        mux = yesOrNo("mux", keywords.pop("mux", "no"))
        options = environment(SERVER, keywords, self._environ)
        return KCPServerEndpoint(reactor, port, interface, mux=mux, **options)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class ClientParser:
    """For clients."""

    prefix = PREFIX

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    def parseStreamClient(  # type: ignore[override]  # as above
        self, reactor: Any, /, *args: str, **kwargs: str
    ) -> IStreamClientEndpoint:
        """See IStreamClientEndpointStringParserWithReactor.  Raises ValueError, as above."""
        from kcpstack.endpointoptions import environment, yesOrNo
        from kcpstack.endpoints import KCPClientEndpoint
        from kcpstack.options.table import CLIENT

        keywords = _named(CLIENT, args, kwargs)
        host = _required(keywords, "host", "the server's name or address")
        port = _required(keywords, "port", "the server's UDP port, or a range as in 3000-3010")
        timeout = _seconds(keywords.pop("timeout", "30"))
        mux = yesOrNo("mux", keywords.pop("mux", "no"))
        options = environment(CLIENT, keywords, self._environ)
        return KCPClientEndpoint(reactor, host, port, timeout, mux, **options)


def _named(role: str, args: Sequence[str], kwargs: Mapping[str, str]) -> dict[str, str]:
    """All arguments by their names."""
    from kcpstack.endpointoptions import OWN, checkKeywords

    names = OWN[role][: POSITIONAL[role]]
    if len(args) > len(names):
        raise ValueError(  # without the word itself: it may be the rest of a key
            f"there is a word without a name: give what follows {' and '.join(names)} as keyword=value (a colon in a value as \\:)"
        )
    twice = [name for name in names[: len(args)] if name in kwargs]
    if twice:
        raise ValueError(f"{twice[0]}={kwargs[twice[0]]}: it is given already, without its name; give it once")
    checkKeywords(role, [name for name in kwargs if name not in OWN[role]])
    return {**dict(zip(names, args)), **kwargs}


def _required(keywords: dict[str, str], name: str, what: str) -> str:
    value = keywords.pop(name, "")
    if not value:
        raise ValueError(f"{name}: give {what}")
    return value


def _seconds(text: str) -> float:
    from kcpstack.options.values import WholeNumber

    try:
        return WholeNumber(1, TIMEOUT_MAX, "seconds").parse(text)
    except ValueError as error:
        raise ValueError(f"timeout={text[:40]}: {error}") from None


POSITIONAL = {"client": 2, "server": 1}  # how many may go without their names, as in Twisted's tcp:
TIMEOUT_MAX = 86_400  # s, a day; whoever waits longer has forgotten it
