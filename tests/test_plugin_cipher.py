"""A cipher of somebody else's: a package installed beside ours, and found by its name."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from peers import OURS, Tunnel, Wire

import kcpstack.ciphers

PACKAGE = Path(__file__).parent / "data" / "rot_cipher_package"
CHECKOUT = Path(kcpstack.ciphers.__file__).parents[2]
MINUTE = 60


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package installed by pip, from a copy and without the network."""
    source = tmp_path_factory.mktemp("source") / "package"
    target = tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGE, source)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", target, source], check=True, timeout=2 * MINUTE)
    return target


def environment(*directories: Path) -> dict[str, str]:
    """The environment of a process that has ``directories`` and this checkout to import from."""
    path = os.pathsep.join(map(str, [*directories, CHECKOUT]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def run(program: str, *directories: Path) -> str:
    """Run a Python program in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(*directories),
        cwd=directories[0],
        capture_output=True,
        text=True,
        timeout=MINUTE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_anInstalledCipherIsFoundByItsName(installed: Path) -> None:
    printed = run(
        "import json\n"
        "from kcpstack.ciphers import batchCipher, cipherNames, derivePass, findCipher\n"
        "from kcpstack.testing.ciphers import openAll, sealAll\n"
        "cipher = findCipher('rot').build(derivePass('key'), bytes)\n"
        "opened = openAll(cipher, sealAll(cipher, [b'one', b'two']))\n"
        "print(json.dumps([cipherNames(), type(cipher).__module__, [o.decode() for o in opened]]))\n",
        installed,
    )
    names, module, opened = json.loads(printed)
    assert {"rot", "aes", "xor", "null"} <= set(names)
    assert module == "rot_cipher"
    assert opened == ["one", "two"]


def test_itPassesTheConformanceSuiteUnderPlainUnittest(installed: Path) -> None:
    shutil.copy(PACKAGE / "check_rot_cipher.py", installed)
    run("import unittest; unittest.main('check_rot_cipher')", installed)


def test_aPluginModuleThatCannotBeImportedDoesNotHideTheOthers(installed: Path, tmp_path: Path) -> None:
    plugins = tmp_path / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "broken_cipher_plugin.py").write_text("raise SystemError('broken')\n")
    printed = run("from kcpstack.ciphers import cipherNames; print(*cipherNames())", tmp_path, installed)
    assert {"rot", "aes"} <= set(printed.split())


def test_theTunnelRunsOnItByItsNameAlone(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(installed))
    tunnel = Tunnel(tmp_path / "tunnel", OURS, OURS, Wire(crypt="rot", smux=2))
    try:
        tunnel.start()
        tunnel.transfer(upload=200_000, download=200_000, streams=3)
    finally:
        complaints = tunnel.stop()
    assert complaints == []


def test_theExampleIsAtMost30LinesOfInterfacesAndNothingElseOfOurs() -> None:
    source = (PACKAGE / "rot_cipher.py").read_text()
    assert len(source.splitlines()) <= 30
    modules = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    assert {module for module in modules if module.startswith("kcpstack")} == {"kcpstack.interfaces"}
