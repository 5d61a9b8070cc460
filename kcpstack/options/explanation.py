"""What ``--explain`` prints: every option of a command, its value, and where it comes from."""

from __future__ import annotations

from kcpstack.options.configuration import Configuration
from kcpstack.options.helptext import valueText
from kcpstack.options.table import Option, dashed, optionsOf

__all__ = ["explanation"]


def explanation(configuration: Configuration) -> str:
    """The effective configuration as a table, with the remarks that the log would begin with."""
    rows = [("Option", "Value", "From")]
    rows += [
        (dashed(option.name), _shown(configuration, option), configuration.origin(option.name))
        for option in optionsOf(configuration.role)
        if option.setting
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}" for name, value, origin in rows]
    if configuration.remarks:
        lines += ["", *configuration.remarks]
    return "\n".join(lines) + "\n"


def _shown(configuration: Configuration, option: Option) -> str:
    value = getattr(configuration.settings, option.name)
    if option.secret:
        return f"({len(value)} characters, not shown)"
    return " ".join(filter(None, (valueText(option, value), option.kind.unit)))
