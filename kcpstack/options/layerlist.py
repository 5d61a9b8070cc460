"""What ``kcptun layers`` prints: every installed layer by kind, whose it is, and what it costs on the wire."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

from kcpstack.options.table import TABLE, dashed
from kcpstack.seams import SEAMS, Seam

__all__ = ["layerList"]


def layerList() -> str:
    """One block for each kind, one line for each layer."""
    owners = _owners()
    return "\n".join("\n".join(_block(seam, owners)) for seam in SEAMS)


def _block(seam: Seam, owners: dict[str, str]) -> list[str]:
    (option,) = (option for option in TABLE if option.name == seam.option)
    kinds = f"{seam.catalogue.noun.capitalize()}s, for {dashed(option.name)}"
    if option.default:
        default = option.default if seam.option != "target" else "an address, without @"
        kinds += f" (default {default})"
    lines = [f"{kinds}:"]
    for name, factory in sorted(seam.catalogue.factories().items()):
        shown = f"@{name}" if seam.option == "target" else name
        lines.append(f"  {shown:<15} {_owner(factory, owners):<24} {_cost(seam, factory)}")
    return [*lines, ""]


def _cost(seam: Seam, factory: Any) -> str:
    """In words; a layer from outside that cannot be built is named as that, and the others are listed all the same."""
    try:
        return seam.cost(factory)
    except Exception as error:  # noqa: BLE001 - a stranger's plug-in
        return f"cannot be used: {error!r}"


def _owner(factory: Any, owners: dict[str, str]) -> str:
    """The package that brought a factory, with its version: by the module of its class."""
    module = type(factory).__module__
    top = module.partition(".")[0]
    return module if top == "twisted" else owners.get(top, top)  # many packages bring something of that


def _owners() -> dict[str, str]:
    """Installed packages by the top-level modules that they bring."""
    if sys.version_info < (3, 10):
        return {each.metadata["Name"]: _named(each.metadata["Name"]) for each in metadata.distributions()}
    return {module: _named(names[0]) for module, names in metadata.packages_distributions().items()}


def _named(distribution: str) -> str:
    return f"{distribution} {metadata.version(distribution)}"
