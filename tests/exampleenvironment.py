"""The example package as its users have it: installed from scratch, beside an installed kcpstack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["CHECKOUT", "EXAMPLE", "LAYERS", "exampleCommand", "outside", "run"]

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLE = CHECKOUT / "examples" / "kcpstack-example"
MINUTE = 60

# What the example brings: the option of each kind, and the name.
LAYERS = {
    "--crypt": "chacha20-poly1305",
    "--erasure": "reedsolo",
    "--compressor": "zlib",
    "--congestion": "halving",
    "--transport": "hop",
    "--target": "@echo",
}


def run(*command: object, status: int = 0, **options: object) -> str:
    """Run a command that ends with ``status``; return what it printed."""
    words = list(map(str, command))
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        text=True,
        timeout=2 * MINUTE,
        **options,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def outside() -> dict[str, str]:
    """The environment of a process that knows nothing of this checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.fixture(scope="session")
def exampleCommand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``kcptun`` of a fresh environment in which pip has installed kcpstack and the example, from copies and
    without the network; what both depend on is borrowed."""
    directory = tmp_path_factory.mktemp("example")
    leftOut = shutil.ignore_patterns("__pycache__", "dropin.cache", "*.egg-info", "build")
    for name in ("kcpstack", "twisted"):
        shutil.copytree(CHECKOUT / name, directory / "ours" / name, ignore=leftOut)
    for name in ("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg"):
        shutil.copy(CHECKOUT / name, directory / "ours")
    shutil.copytree(EXAMPLE, directory / "theirs", ignore=leftOut)
    run(sys.executable, "-m", "venv", "--without-pip", directory / "environment")
    python = directory / "environment" / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    borrowed = [entry for entry in sys.path if entry.endswith("-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps"]
    run(*pip, "--no-build-isolation", "--ignore-installed", directory / "ours", directory / "theirs")
    return python.with_name("kcptun")
