"""ARQs whose methods can be replaced, one by one: those of a compiled class cannot.

Importing this module has every session of this process made with one.  What is done with one is what the class does that
users have: only how its methods are found is different.
"""

from __future__ import annotations

from kcpstack import stack
from kcpstack.kernels.arq import ARQ

__all__ = ["OpenARQ"]


class OpenARQ(ARQ):
    """See the module."""


stack.ARQ = OpenARQ  # type: ignore[misc]
