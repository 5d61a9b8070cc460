"""What fills the seams: by name, from the option table, checked at the start, listed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from zope.interface import implementer

from kcpstack import catalogue, seams
from kcpstack.interfaces import IErasureCodeFactory
from kcpstack.kernels.congestion import FixedWindow, SlowStart
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.layers.snappy import SnappyCodec
from kcpstack.names import targetEndpoint
from kcpstack.options import ClientSettings, RelayTarget, ServerSettings
from kcpstack.options.addresses import TargetAddress
from kcpstack.options.layerlist import layerList
from kcpstack.seams import RELAY_TARGETS, SEAMS, checkLayers, checkRoom, layersOf


class Factory:
    """Of any kind, and of no use."""

    def __init__(self, name: Any, overhead: int = 0) -> None:
        self.name = name
        self.overhead = overhead


@implementer(IErasureCodeFactory)
class Code(Factory):
    """One of erasure codes."""

    def build(self, dataShards: int, parityShards: int) -> Any:
        raise KeyError("nothing")


def kcptun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kcpstack", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


# ------------------------------------------------------------------ names


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.option)
def test_ours_are_found_by_their_names(seam: Any) -> None:
    assert seam.catalogue.names()
    for name in seam.catalogue.names():
        assert seam.catalogue.find(name).name == name


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.option)
def test_what_is_not_installed_is_an_error_that_names_what_is(seam: Any) -> None:
    noun, names = re.escape(seam.catalogue.noun), re.escape(", ".join(seam.catalogue.names()))
    with pytest.raises(ValueError, match=f"^no {noun} called 'nix' is installed; there are {names}$"):
        seam.catalogue.find("nix")


@pytest.mark.parametrize("name", [None, "", 3, "a:b", "a b", "a\nb", ["a"]])
def test_a_name_that_no_option_could_spell_is_left_out_and_logged(monkeypatch: Any, name: Any) -> None:
    monkeypatch.setattr(catalogue, "installed", lambda: [Code(name), Code("good")])
    with capturedLogs() as logged:
        assert seams.ERASURE_CODES.names() == ["good"]
    assert len(logged) == 1


# ------------------------------------------------------------------ from options to layers


@pytest.mark.option("congestion")
def test_the_congestion_control_is_the_one_named_or_else_that_of_the_mode() -> None:
    def built(**options: Any) -> Any:
        return layersOf(ClientSettings(**options)).congestion.build(50)

    assert isinstance(built(), FixedWindow)
    assert isinstance(built(mode="manual", nc=0), SlowStart)
    assert isinstance(built(congestion="slowstart"), SlowStart)
    assert isinstance(built(mode="manual", nc=0, congestion="fixed"), FixedWindow)


@pytest.mark.option("erasure", "compressor")
def test_the_defaults_are_kcptuns() -> None:
    layers = layersOf(ServerSettings())
    assert layers.cipher.name == "aes"
    assert isinstance(layers.erasure.build(10, 3), ReedSolomon)
    assert isinstance(layers.compressor.build(), SnappyCodec)


def test_layers_that_leave_no_room_are_refused_with_what_would_do() -> None:
    checkRoom(100, 28)
    with pytest.raises(ValueError, match="^--mtu 100: give at least 148: headers take 132 bytes with these layers$"):
        checkRoom(100, 100)


def test_numbers_that_the_erasure_code_has_not_are_refused_at_the_start(monkeypatch: Any) -> None:
    class Fives(Factory):
        def build(self, data: int, parity: int) -> Any:
            raise ValueError("give multiples of five")

    find = seams.ERASURE_CODES.find
    monkeypatch.setattr(seams.ERASURE_CODES, "find", lambda name: Fives(name) if name == "fives" else find(name))
    checkLayers(ClientSettings())
    checkLayers(ClientSettings(erasure="fives", datashard=0))
    with pytest.raises(
        ValueError, match=r"^--datashard 10 --parityshard 3: give multiples of five \(--erasure fives\)$"
    ):
        checkLayers(ClientSettings(erasure="fives"))


@pytest.mark.parametrize("option", ["crypt", "erasure", "compressor", "congestion", "transport"])
@pytest.mark.option("erasure", "compressor", "congestion", "transport", "crypt")
def test_a_process_that_lacks_the_layer_ends_with_one_line(option: str) -> None:
    done = kcptun("client", f"--{option}", "nix")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert re.fullmatch(rf"kcptun client: --{option} nix: give one of [\w, -]+ \(no [a-z ]+ called 'nix' is installed\)", line)


# ------------------------------------------------------------------ relay targets


def test_a_target_with_an_at_sign_is_a_relay_target() -> None:
    parse = TargetAddress().parse
    assert parse("@endpoint:tcp:127.0.0.1:80") == RelayTarget("endpoint", "tcp:127.0.0.1:80")
    assert parse("@connect") == RelayTarget("connect")
    assert [str(parse(text)) for text in ("@connect", "@connect:a:1")] == ["@connect", "@connect:a:1"]
    with pytest.raises(ValueError, match=r"^give an address, or @ and one of .*endpoint.* \(no relay target called 'nix'"):
        parse("@nix:80")


@pytest.mark.option("target")
def test_relay_targets_of_ours_lead_where_they_say() -> None:
    reactor = MemoryReactorClock()
    tcp = targetEndpoint(reactor, TargetAddress().parse("@endpoint:tcp:127.0.0.1:80"))
    assert isinstance(targetEndpoint(reactor, TargetAddress().parse("@connect:127.0.0.1:80")), TCP4ClientEndpoint)
    assert isinstance(targetEndpoint(reactor, TargetAddress().parse("@connect:/run/x")), UNIXClientEndpoint)
    assert tcp is not None
    for name in ("connect", "endpoint"):
        for argument in ("", "nix", "nix:nix:nix"):
            with pytest.raises(ValueError, match="^give "):
                RELAY_TARGETS.find(name).endpoint(reactor, argument)


def test_a_server_whose_relay_target_is_told_nonsense_ends_with_one_line() -> None:
    done = kcptun("server", "--target", "@endpoint:nix:80")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("kcptun server: --target @endpoint:nix:80: give one of Twisted's client endpoint strings")


# ------------------------------------------------------------------ kcptun layers


def test_every_layer_is_listed_with_its_package_and_overhead() -> None:
    done = kcptun("layers")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  aes-128-gcm +kcpstack [\d.]+ +28 bytes a datagram$", done.stdout, re.MULTILINE)
    assert re.search(r"^  @endpoint +kcpstack [\d.]+ +no overhead$", done.stdout, re.MULTILINE)
    for seam in SEAMS:
        for name in seam.catalogue.names():
            assert re.search(rf"^  @?{re.escape(name)} ", done.stdout, re.MULTILINE)


def test_the_list_takes_no_options_and_explains_itself() -> None:
    assert "twisted/plugins" in kcptun("layers", "--help").stdout
    done = kcptun("layers", "more")
    assert (done.returncode, done.stderr) == (1, "kcptun layers: more: kcptun layers takes no options\n")


def test_a_layer_that_cannot_be_built_is_listed_as_that(monkeypatch: Any) -> None:
    monkeypatch.setattr(seams.CIPHERS, "factories", lambda: {"bad": Factory("bad")})
    assert re.search(r"^  bad +test_seams +cannot be used: AttributeError", layerList(), re.MULTILINE)


def test_every_seam_has_an_option(tmp_path: Path) -> None:
    from kcpstack.options import TABLE

    assert {seam.option for seam in SEAMS} <= {option.name for option in TABLE}


def test_a_layer_that_fails_when_it_is_built_is_refused_with_a_line(monkeypatch: Any) -> None:
    monkeypatch.setattr(catalogue, "installed", lambda: [*OURS, Code("boom")])
    with pytest.raises(ValueError, match=r"^--datashard 10 --parityshard 3: --erasure boom: this layer cannot be used"):
        checkLayers(ClientSettings(erasure="boom"))


OURS = catalogue.installed()
