"""The compiled kernels (docs/kernels.rst).  All else is in setup.cfg.

Compiled is each ``X.py`` of the package that has an ``X.pxd`` beside it, and each ``X.pyx`` with the C files of
a folder ``X-c`` beside it (whose name no import can take for a package).  Where that cannot be done (no C compiler, no Cython), or ``KCPSTACK_PURE=1`` asks for it, the
installation is complete without them: every module then runs as it stands, interpreted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

PACKAGE = "kcpstack"


def extensions() -> list[Extension]:
    """What to compile; nothing where there is no Cython, or nothing is asked for."""
    if os.environ.get("KCPSTACK_PURE"):
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        print("kcpstack: no Cython to build the kernels with: they will run interpreted", file=sys.stderr)
        return []
    root = Path(__file__).resolve().parent
    os.chdir(root)
    sources = [path for path in sorted(Path(PACKAGE).rglob("*.pxd")) if path.with_suffix(".py").exists()]
    found = [_extension(path.with_suffix(".py")) for path in sources]
    found += [_extension(path) for path in sorted(Path(PACKAGE).rglob("*.pyx"))]
    compiled: list[Extension] = cythonize(
        found,
        build_dir="build/cython",
        language_level=3,
        annotate=bool(os.environ.get("KCPSTACK_ANNOTATE")),
        # Annotations are for mypy; what is typed in C is in the .pxd.  All else keeps Python's meaning, checks included.
        compiler_directives={"annotation_typing": False, "nonecheck": True},
    )
    return compiled


def _extension(source: Path) -> Extension:
    folder = source.with_name(source.stem + "-c")
    return Extension(
        ".".join(source.with_suffix("").parts),
        [str(source), *sorted(map(str, folder.glob("*.c")))],
        depends=sorted(map(str, folder.glob("*.h"))),
        include_dirs=[str(folder)],
        extra_compile_args=["-O3"],
        optional=True,  # a failure to compile is said, and is none of the installation
    )


setup(ext_modules=extensions())
