"""Ciphers found by name, the key, and plug-ins that are not what they should be."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from twisted.logger import capturedLogs
from zope.interface import implementer

from kcpstack import catalogue
from kcpstack.ciphers import CIPHERS, builtin, cipherNames, derivePass, findCipher, library
from kcpstack.ciphers.library import Unavailable, findAlgorithm
from kcpstack.interfaces import ICipherFactory

KCPTUNS = {
    *("aes", "aes-128", "aes-128-gcm", "aes-192", "blowfish", "cast5", "3des"),
    *("none", "null", "salsa20", "sm4", "tea", "twofish", "xor", "xtea"),
}
OURS = KCPTUNS - set(builtin.unavailable)


@implementer(ICipherFactory)
class Factory:
    def __init__(self, name: Any) -> None:
        self.name = name

    def build(self, key: bytes, randomBytes: Any) -> Any:
        """Never called here."""


@implementer(ICipherFactory)
class Nameless:
    @property
    def name(self) -> str:
        raise RuntimeError("broken")


def test_ourCiphersAreFoundByName() -> None:
    assert set(cipherNames()) >= OURS
    for name in OURS:
        assert findCipher(name).name == name


def test_anUnknownNameIsAnErrorThatListsTheKnownOnes() -> None:
    with pytest.raises(ValueError, match="aes-256") as raised:
        findCipher("aes-256")
    for name in OURS:
        assert name in str(raised.value)


def test_onlyWhatOpenSSLMayBeBuiltWithoutCanBeUnavailable() -> None:
    assert set(builtin.unavailable) <= {"3des", "blowfish", "cast5", "sm4"}


def test_aCipherThatThisMachineLacksIsAnErrorThatSaysWhyAndListsTheOthers(monkeypatch: Any) -> None:
    monkeypatch.setattr(catalogue, "installed", lambda: [Factory("good")])
    monkeypatch.setattr(CIPHERS, "unavailable", {"sm4": "there is no SM4 here"})
    with pytest.raises(ValueError, match="^the cipher sm4 cannot be had: there is no SM4 here; there are good$"):
        findCipher("sm4")


def test_anAlgorithmThatCryptographyHasNotIsUnavailable() -> None:
    with pytest.raises(Unavailable, match="cryptography has no Twofish"):
        findAlgorithm("Twofish", 32)


def test_anAlgorithmThatOpenSSLHasNotIsUnavailable(monkeypatch: Any) -> None:
    class SM4Context:
        def encryptor(self) -> None:
            raise UnsupportedAlgorithm("no such cipher")

    monkeypatch.setattr(library, "Cipher", lambda algorithm, mode: SM4Context())
    with pytest.raises(Unavailable, match="OpenSSL of the installed cryptography has no SM4"):
        findAlgorithm("SM4", 16)


def test_theOthersStandWhereOneIsUnavailable(monkeypatch: Any) -> None:
    def nothing(name: str, keyLength: int) -> None:
        raise Unavailable(f"no {name} today")

    monkeypatch.setattr(library, "findAlgorithm", nothing)
    try:
        without = importlib.reload(builtin)
        assert without.unavailable["sm4"] == "no SM4 today"
        assert without.sm4 is without.blowfish is None
        assert without.aes.build(bytes(32), bytes).overhead == 20
    finally:
        monkeypatch.undo()
        importlib.reload(builtin)


def test_brokenPluginsAreLoggedAndTheOthersStay(monkeypatch: Any) -> None:
    good = Factory("good")
    plugins = [Nameless(), Factory(None), Factory(["a"]), good]
    monkeypatch.setattr(catalogue, "installed", lambda: plugins)
    with capturedLogs() as logged:
        assert cipherNames() == ["good"]
    assert len(logged) == 3
    assert findCipher("good") is good


def test_ofTwoWithOneNameTheFirstWinsAndTheClashIsLogged(monkeypatch: Any) -> None:
    first, second = Factory("same"), Factory("same")
    monkeypatch.setattr(catalogue, "installed", lambda: [first, first, second])
    with capturedLogs() as logged:
        for _ in range(3):
            assert findCipher("same") is first
    [clash] = logged
    assert (clash["first"], clash["other"]) == (first, second)


def test_theKeyIsStretchedAsEveryPeerDoesIt() -> None:
    assert derivePass("it's a secrect").hex() == (
        "25d7d7bd51050742d8d791f2b653c6c8b2366b7e25a124cf7a2e12eaf4ffa444"
    )
    assert len(derivePass("")) == len(derivePass("k" * 1000)) == 32


def test_keysOutsideASCIIAreTheirUTF8Bytes() -> None:
    assert derivePass("é") == derivePass(b"\xc3\xa9".decode("utf-8"))
    assert derivePass("é") != derivePass("e")


def test_bytesOfACommandLineThatAreNotUTF8CountAsTheyAre() -> None:
    assert derivePass(b"\xc3\xa9".decode("ascii", "surrogateescape")) == derivePass("é")
    assert derivePass(b"\xff".decode("utf-8", "surrogateescape")) != derivePass("ÿ")


def test_whatIsInstalledIsLookedForOnce(monkeypatch: Any) -> None:
    aes = findCipher("aes")
    monkeypatch.setattr(catalogue, "getPlugins", None)
    assert findCipher("aes") is aes
