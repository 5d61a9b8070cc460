"""Ciphers: what goes around a datagram on the wire, each found by its ``--crypt`` name.

Names come from ``twisted.plugin``: our own (``kcpstack.ciphers.builtin``) and those of any
installed package that provides an ``ICipherFactory`` in a ``twisted.plugins`` module.

- ``framing``   the nonce and checksum that most methods share
- ``cfb``       block ciphers in cipher feedback mode: aes and its like
- ``library``   which block ciphers the installed library has for it
- ``columns``   the same for those that no library has: tea, xtea, twofish
- ``aead``      encrypted and authenticated: aes-128-gcm
- ``salsa20``   a stream cipher
- ``xor``       a fixed table
- ``plain``     no encryption: none and null
- ``adapter``   an IPacketCipher made to work on batches
- ``refusals``  what all of them do with datagrams, and with ciphers, that are no good
- ``builtin``   the names of our own
"""

from __future__ import annotations

import hashlib
from typing import Any

from twisted.logger import Logger
from twisted.plugin import getPlugins

from kcpstack.ciphers import builtin
from kcpstack.ciphers.adapter import PacketCipherAdapter
from kcpstack.interfaces import IBatchCipher, ICipherFactory

__all__ = ["PacketCipherAdapter", "batchCipher", "cipherNames", "derivePass", "findCipher"]

KEY_SALT = b"kcp-go"  # these three as protocol.md, "Key", has them
KEY_ITERATIONS = 4096
KEY_LENGTH = 32

_log = Logger()


def derivePass(key: str) -> bytes:
    """Return the 32 bytes that every cipher takes its key from, made of the text of ``--key``.

    Bytes of a command line that are not UTF-8 (surrogate escapes, in Python) count as they are,
    as they do for a Go peer.
    """
    secret = key.encode("utf-8", "surrogateescape")
    return hashlib.pbkdf2_hmac("sha1", secret, KEY_SALT, KEY_ITERATIONS, KEY_LENGTH)


def cipherNames() -> list[str]:
    """Return the names of all ciphers that are installed, sorted."""
    return sorted(_factories())


def findCipher(name: str) -> ICipherFactory:
    """Return the ICipherFactory of this name.

    Raises ValueError, with the known names in its text, where there is none; and with the reason
    where it is one of ours that cannot be had on this machine.
    """
    factories = _factories()
    if name not in factories:
        known = f"there are {', '.join(sorted(factories))}"
        if name in builtin.unavailable:
            raise ValueError(f"the cipher {name} cannot be had: {builtin.unavailable[name]}; {known}")
        raise ValueError(f"no cipher is called {name!r}; {known}")
    return factories[name]


def batchCipher(cipher: Any) -> IBatchCipher:
    """Return ``cipher`` as an IBatchCipher: itself, or adapted where it is an IPacketCipher.

    Raises TypeError where it provides neither.
    """
    return IBatchCipher(cipher)


def _factories() -> dict[str, ICipherFactory]:
    """All factories by name.  One that is broken, or whose name is taken, is logged and left out."""
    found: dict[str, ICipherFactory] = {}
    for factory in getPlugins(ICipherFactory):
        try:
            name = factory.name
            if not isinstance(name, str):
                raise TypeError(f"its name is {name!r}, not a str")
            first = found.setdefault(name, factory)
        except Exception:  # noqa: BLE001 - a stranger's plugin must not take the others down
            _log.failure("Left out a cipher plugin that cannot be named: {type}", type=type(factory))
            continue
        if first is not factory:
            _log.warn(
                "Two ciphers are called {name}: using {first}, not {other}",
                name=name,
                first=first,
                other=factory,
            )
    return found
