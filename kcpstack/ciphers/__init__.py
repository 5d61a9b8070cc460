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
from functools import lru_cache

from kcpstack.catalogue import Catalogue
from kcpstack.ciphers import builtin
from kcpstack.ciphers.adapter import PacketCipherAdapter
from kcpstack.interfaces import IBatchCipher, ICipherFactory, IPacketCipher

__all__ = ["CIPHERS", "KEY_LENGTH", "PacketCipherAdapter", "batchCipher", "cipherNames", "derivePass", "findCipher"]

KEY_SALT = b"kcp-go"  # these three as protocol.md, "Key", has them
KEY_ITERATIONS = 4096
KEY_LENGTH = 32


@lru_cache(maxsize=8)  # each session that is dialled asks, and it takes milliseconds
def derivePass(key: str) -> bytes:
    """Return the 32 bytes that every cipher takes its key from, made of the text of ``--key``.

    Bytes of a command line that are not UTF-8 (surrogate escapes, in Python) count as they are,
    as they do for a Go peer.
    """
    secret = key.encode("utf-8", "surrogateescape")
    return hashlib.pbkdf2_hmac("sha1", secret, KEY_SALT, KEY_ITERATIONS, KEY_LENGTH)


def batchCipher(cipher: IPacketCipher | IBatchCipher) -> IBatchCipher:
    """Return ``cipher`` as an IBatchCipher: itself, or adapted where it is an IPacketCipher.

    Raises TypeError where it provides neither.
    """
    return IBatchCipher(cipher)


CIPHERS = Catalogue("cipher", ICipherFactory, builtin.unavailable)
cipherNames, findCipher = CIPHERS.names, CIPHERS.find
