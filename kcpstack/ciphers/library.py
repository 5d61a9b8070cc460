"""The block ciphers that the library ``cryptography`` has, wherever its version keeps them.

It moves old ones about: until version 42 they are beside AES, from 43 on in ``decrepit``, where they
stay without a warning.  And not every OpenSSL under it has all of them: some are built without SM4, and
the old ones are in a provider that can be switched off.  So each is tried before it gets a name.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from kcpstack.ciphers.cfb import CFB, IV

decrepit: ModuleType | None
try:
    from cryptography.hazmat.decrepit.ciphers import algorithms as decrepit
except ImportError:  # cryptography before 43
    decrepit = None

__all__ = ["Unavailable", "findAlgorithm"]


class Unavailable(Exception):
    """A cipher that is not to be had here; its text says why, to whoever asked for it by name."""


def findAlgorithm(name: str, keyLength: int) -> Any:
    """Return cryptography's class ``name``, which makes an algorithm of a key of ``keyLength`` bytes.

    Raises Unavailable where this version has none, or its OpenSSL cannot run it in CFB mode.
    """
    with warnings.catch_warnings():
        # That it is no cipher for new designs is known to whoever has a peer that uses it.
        warnings.simplefilter("ignore")
        for module in (decrepit, algorithms):
            algorithm = getattr(module, name, None)
            if algorithm is not None:
                break
        else:
            raise Unavailable(f"the installed version of cryptography has no {name}")
        probe = algorithm(bytes(range(keyLength)))
    try:
        Cipher(probe, CFB(IV[: probe.block_size // 8])).encryptor()
    except UnsupportedAlgorithm as error:
        raise Unavailable(f"the OpenSSL of the installed cryptography has no {name}") from error
    return algorithm
