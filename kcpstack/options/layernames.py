"""Options that select a layer by name: a kind as in values.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kcpstack.catalogue import Catalogue

__all__ = ["LayerName"]


@dataclass(frozen=True)
class LayerName:
    """The name of an installed layer of one kind, or one of ``words``, which mean something else.

    Asked anew each time, for plug-ins add to the names."""

    catalogue: Catalogue[Any]
    words: Sequence[str] = ()
    unit = ""
    takes = str

    @property
    def accepts(self) -> str:
        return ", ".join([*self.words, *self.catalogue.names()])

    def parse(self, text: str) -> str:
        if text in self.words:
            return text
        try:
            self.catalogue.find(text)
        except ValueError as error:
            raise ValueError(f"give one of {self.accepts} ({str(error).partition('; there are')[0]})") from None
        return text
