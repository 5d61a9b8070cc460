"""For type checkers: an extension module, which may not be there (docs/kernels.rst)."""

from typing import Any

def __getattr__(name: str) -> Any: ...
