"""Ciphers found by name, the key, and plug-ins that are not what they should be."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.logger import capturedLogs
from zope.interface import implementer

from kcpstack import ciphers
from kcpstack.ciphers import cipherNames, derivePass, findCipher
from kcpstack.interfaces import ICipherFactory

OURS = {"aes", "aes-128", "aes-192", "none", "null", "xor"}


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


def test_brokenPluginsAreLoggedAndTheOthersStay(monkeypatch: Any) -> None:
    good = Factory("good")
    plugins = [Nameless(), Factory(None), Factory(["a"]), good]
    monkeypatch.setattr(ciphers, "getPlugins", lambda interface: iter(plugins))
    with capturedLogs() as logged:
        assert cipherNames() == ["good"]
    assert len(logged) == 3
    assert findCipher("good") is good


def test_ofTwoWithOneNameTheFirstWinsAndTheClashIsLogged(monkeypatch: Any) -> None:
    first, second = Factory("same"), Factory("same")
    monkeypatch.setattr(ciphers, "getPlugins", lambda interface: iter([first, first, second]))
    with capturedLogs() as logged:
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
