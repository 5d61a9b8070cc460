"""The example package: six layers from outside, which need nothing of ours that is not public."""

from __future__ import annotations

import ast
import random
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from exampleenvironment import CHECKOUT, EXAMPLE, LAYERS, outside, run
from twisted.internet.task import Clock

from kcpstack import ALL, PUBLIC
from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.options import ServerSettings
from kcpstack.stack import Port, Surroundings
from kcpstack.testing.network import SimulatedNetwork

SOURCES = sorted(EXAMPLE.glob("**/*.py"))


def imports(source: Path) -> Iterator[tuple[str, list[str]]]:
    """Each module that a file imports, with the names taken from it."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{source}: a relative import"
            yield node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def test_it_imports_only_what_is_public() -> None:
    taken = [each for source in SOURCES for each in imports(source) if each[0].split(".")[0] == "kcpstack"]
    assert taken
    for module, names in taken:
        public = PUBLIC[module]
        assert names, f"import {module} gives all of it"
        assert set(names) <= set(import_module(module).__all__ if public == ALL else public)


def test_it_touches_no_private_attribute_of_anybody_else() -> None:
    for source in (EXAMPLE / "kcpstack_example").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr.startswith("_")
                and not node.attr.startswith("__")
            ):
                assert isinstance(node.value, ast.Name), f"{source.name}:{node.lineno}"
                assert node.value.id == "self", f"{source.name}:{node.lineno}"


def test_the_stack_leaves_a_transport_the_addresses_that_it_believes() -> None:
    clock = Clock()
    around = Surroundings(clock, Counters(), random.Random("believed").randbytes)
    network = SimulatedNetwork(clock, seed=1)
    port = Port(
        network.transport(("10.0.0.1", 29900)), ServerSettings(key="secret", crypt="aes-128-gcm"), around
    )
    genuine = outboundBatch(1400, port.overhead)
    genuine.append(bytes(24))
    port.crypt.seal(genuine)
    me, somebody = ("192.0.2.1", 1), ("192.0.2.2", 2)
    arrived = inboundBatch([b"forged" * 20, *map(bytes, genuine), b"forged"], [somebody, me, somebody])
    port.datagramsReceived(arrived)
    assert arrived.addresses == [me]


def test_the_list_has_all_six_with_their_package_and_version(exampleCommand: Path, tmp_path: Path) -> None:
    listed = run(exampleCommand, "layers", cwd=tmp_path, env=outside()).splitlines()
    for name in LAYERS.values():
        (line,) = (line for line in listed if line.split()[:1] == [name])
        assert "kcpstack-example 1.0" in line
        assert "cannot" not in line
    assert any(line.split()[:2] == ["aes", "kcpstack"] for line in listed)


def test_the_installed_layers_pass_the_shipped_suites(exampleCommand: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(
        EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__")
    )
    python = exampleCommand.with_name("python")
    said = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, cwd=tmp_path, env=outside())
    assert " passed" in said
    assert "skipped" not in said


@pytest.mark.parametrize(("option", "name"), LAYERS.items())
def test_without_it_each_name_is_refused_with_what_there_is(option: str, name: str) -> None:
    role = ["server"] if option == "--target" else ["client", "--remoteaddr", "127.0.0.1:9"]
    said = run(sys.executable, "-m", "kcpstack", *role, option, name, status=1, cwd=CHECKOUT)
    assert option in said
    assert name.lstrip("@") in said
    assert "is installed" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["server", "--target", "@echo:loud"], "give @echo"),
        (["client", "--erasure", "reedsolo", "--datashard", "60", "--parityshard", "6"], "64 at most"),
    ],
)
def test_what_a_layer_cannot_do_is_said_at_the_start(
    exampleCommand: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    printed = run(exampleCommand, *words, status=1, cwd=tmp_path, env=outside())
    assert said in printed
    assert "Traceback" not in printed
