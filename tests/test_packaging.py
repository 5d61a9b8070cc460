"""What an installation consists of: our package, one module in twisted.plugins, and the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kcpstack import __version__

CHECKOUT = Path(__file__).resolve().parents[1]
MINUTE = 60


def run(*command: object, **options: object) -> str:
    """Run a command; return what it printed."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, check=False, text=True, timeout=2 * MINUTE, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from, for building leaves files behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("kcpstack", "twisted"):
        leftOut = shutil.ignore_patterns("__pycache__", "dropin.cache")
        shutil.copytree(CHECKOUT / name, copy / name, ignore=leftOut)
    for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"):
        shutil.copy(CHECKOUT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel, built without the network."""
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    run(*pip, "--wheel-dir", directory, source)
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment with the wheel in it; what we depend on is borrowed."""
    directory = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    python = directory / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    borrowed = [entry for entry in sys.path if entry.endswith("-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"]
    run(*pip, "--ignore-installed", wheel)
    return python


def outside() -> dict[str, str]:
    """The environment of a process that knows nothing of this checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def test_the_wheel_has_every_module_of_ours_and_one_of_twisted_plugins(source: Path, wheel: Path) -> None:
    expected = {str(path.relative_to(source)) for path in source.glob("kcpstack/**/*.py")}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    data = {"kcpstack/py.typed", "kcpstack/testing/kcptun.lua"}
    assert packed == expected | data | {"twisted/plugins/kcptun_plugin.py"}


def test_no_package_of_ours_lacks_its_init() -> None:
    for directory in {path.parent for path in (CHECKOUT / "kcpstack").glob("**/*.py")}:
        assert (directory / "__init__.py").exists(), directory
    assert list((CHECKOUT / "twisted").glob("**/*.py")) == [CHECKOUT / "twisted/plugins/kcptun_plugin.py"]


def test_the_wheel_carries_the_licence_and_the_version(wheel: Path) -> None:
    assert wheel.name == f"kcpstack-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_installed_command_explains_itself(installed: Path, tmp_path: Path) -> None:
    kcptun = installed.with_name("kcptun")
    assert run(kcptun, "--version", cwd=tmp_path, env=outside()).startswith(f"kcpstack {__version__} ")
    assert "--remoteaddr" in run(kcptun, "client", "--help", cwd=tmp_path, env=outside())
    assert "--target" in run(kcptun, "server", "--help", cwd=tmp_path, env=outside())


def test_twisted_is_still_twisteds_and_finds_our_plugins(installed: Path, tmp_path: Path) -> None:
    program = (
        "import kcpstack, twisted, twisted.plugins\n"
        "from kcpstack.ciphers import cipherNames\n"
        "from twisted.application.service import IServiceMaker\n"
        "from twisted.plugin import getPlugins\n"
        "print(kcpstack.__file__)\n"
        "print(twisted.__file__, twisted.plugins.__file__)\n"
        "print(sorted({maker.tapname for maker in getPlugins(IServiceMaker)}))\n"
        "print(cipherNames())\n"
    )
    ours, theirs, services, ciphers = run(installed, "-c", program, cwd=tmp_path, env=outside()).splitlines()
    assert ours.startswith(str(installed.parents[1]))
    assert not any(path.startswith(str(CHECKOUT / "twisted")) for path in theirs.split())
    assert "'kcptun'" in services
    assert "'web'" in services
    assert "'aes'" in ciphers


def test_an_editable_installation_finds_our_plugins(source: Path, tmp_path: Path) -> None:
    """twisted.plugin looks along sys.path, so an import hook in place of a path would not do."""
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation"]
    run(*pip, "--target", tmp_path, "--editable", source)
    paths = [path.read_text().strip() for path in tmp_path.glob("*.pth")]
    assert paths == [str(source)]
