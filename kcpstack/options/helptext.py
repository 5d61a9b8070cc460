"""What ``--help`` prints: made from rows of the option table, to teach rather than to list."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from kcpstack.options.table import Option, dashed

__all__ = ["LAYERS_HELP", "OVERVIEW", "commandHelp", "defaultText", "valueText"]

WIDTH = 100  # columns, where the caller names none
INDENT = 30  # columns before an option's text

PURPOSE = {
    "client": "Take TCP connections and carry each as a stream over KCP to a kcptun server.",
    "server": "Take kcptun clients' streams over KCP and carry each to a TCP target.",
}
EXAMPLE = {
    "client": "kcptun client -l :12948 -r server.example.org:29900 --key 'a secret of your own'",
    "server": "kcptun server -l :29900 -t 127.0.0.1:8080 --key 'a secret of your own'",
}
AGREE = (
    "Both ends need the same --key and --crypt; a Go peer also needs the same --nocomp, --smuxver, "
    "--datashard and --parityshard."
)
SPELLING = "Go's spelling works as well: -mtu 1400, -mtu=1400, --mtu 1400 and --mtu=1400 are the same."


OVERVIEW = f"""\
kcpstack carries TCP connections over KCP, a reliable protocol on UDP that stays fast where packets
get lost.  Either end may be a kcptun written in Go.

Usage: kcptun client [options]
       kcptun server [options]
       kcptun layers
       twistd [options of twistd] kcptun client|server [options]

On the machine that has a service, and on one that wants it:

  {EXAMPLE["server"]}
  {EXAMPLE["client"]}

An application that connects to port 12948 of the second now talks to port 8080 of the first.

kcptun client --help and kcptun server --help explain the options; kcptun layers lists the ciphers
and other layers that are installed; kcptun --version tells what this is.
"""

LAYERS_HELP = """\
Usage: kcptun layers

List every installed layer: ciphers, erasure codes, compressors, congestion controls, datagram
transports and relay targets, each with the package that brings it and what it costs on the wire.
A package adds to them by a module in twisted/plugins; both ends of a tunnel need it.
"""


def commandHelp(role: str, options: Sequence[Option], width: int | None = None) -> str:
    """The help of one command, from its rows of the table."""
    width = width or WIDTH
    lines = [f"Usage: kcptun {role} [options]", "", PURPOSE[role], "", f"  {EXAMPLE[role]}", ""]
    lines += textwrap.wrap(f"{AGREE} {SPELLING}", width)
    group = ""
    for option in options:
        if option.group != group:
            group = option.group
            lines += ["", f"{group}:"]
        lines += _entry(role, option, width)
    return "\n".join(lines) + "\n"


def _entry(role: str, option: Option, width: int) -> list[str]:
    """One option: its names, then what it does, its default and its bounds."""
    short = f"-{option.short}, " if option.short else "    "
    names = ", ".join(map(dashed, (option.name, *option.aliases)))
    head = f"  {short}{names} {option.metavar}".rstrip()
    body = f"{option.help} ({_facts(role, option)})"
    wrapped = textwrap.wrap(body, width - INDENT, break_on_hyphens=False)
    if len(head) < INDENT - 1:
        return [head.ljust(INDENT) + wrapped[0]] + [" " * INDENT + line for line in wrapped[1:]]
    return [head] + [" " * INDENT + line for line in wrapped]


def _facts(role: str, option: Option) -> str:
    default = f"default {defaultText(role, option)}"
    if not option.metavar:
        return default
    facts = [f"{default} {option.kind.unit}".rstrip()]
    if option.group != "Addresses" and option.kind.accepts != "any text":
        facts.append(option.kind.accepts)
    if option.environment:
        facts.append(f"or ${option.environment}")
    return "; ".join(facts)


def defaultText(role: str, option: Option) -> str:
    """The default of one command as one would type it."""
    return valueText(option, option.default[role] if isinstance(option.default, dict) else option.default)


def valueText(option: Option, value: Any) -> str:
    """A value of an option as one would type it; on or off for a switch, none for nothing."""
    if not option.metavar:
        return "on" if value else "off"
    return str(value) or "none"
