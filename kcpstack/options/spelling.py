"""One spelling for every option: Go's ``-mtu=1400`` and ours ``--mtu 1400`` become ``--mtu=1400``.

Go's flag package takes one dash or two in front of any name, short or long, and the value after a
space or an equals sign; a switch takes a value only after an equals sign.  Every kcptun guide
writes ``-mtu 1400``, which getopt would read as ``-m`` with the value ``tu``.  So the arguments are
spelled anew before getopt sees them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Spelling", "respell", "SpellingError"]


class SpellingError(ValueError):
    """Arguments that name no option, or leave out a value.  The message is one line for the user,
    and ends in a question mark where it suggests another spelling."""


class Spelling(NamedTuple):
    """What one name stands for."""

    name: str  # the long name
    implied: str | None = None
    """The value where none is given: None where one must follow, "true" for a switch (whose value,
    if any, stands after an equals sign), "" for an option that never has one, such as help."""


def respell(arguments: Sequence[str], spellings: Mapping[str, Spelling]) -> list[str]:
    """Return ``arguments`` with every option as ``--name=value``, in the same order.

    ``spellings`` maps each name, alias and letter, without dashes, to what it stands for.  A
    switch without a value becomes ``--name=true``, and an option that has none ``--name``.  From
    the first argument that is no option (or after ``--``) all is positional and comes back after
    a ``--``.
    Raises SpellingError for an unknown option or a missing value.
    """
    respelled: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            positional = list(rest)
        elif len(argument) < 2 or not argument.startswith("-"):
            positional = [argument, *rest]
        else:
            respelled.append(_respellOne(argument, rest, spellings))
            continue
        return [*respelled, "--", *positional] if positional else respelled
    return respelled


def _respellOne(argument: str, rest: Iterator[str], spellings: Mapping[str, Spelling]) -> str:
    dashes = 2 if argument.startswith("--") else 1
    name, equals, value = argument[dashes:].partition("=")
    spelling = spellings.get(name)
    if spelling is None:
        if not name.isprintable() or len(name) > SHOWN_MAX:
            raise SpellingError(f"no option {argument[:dashes]}{ascii(name)[1:-1][:SHOWN_MAX]}")
        raise SpellingError(f"no option {argument[:dashes]}{name}{_suggestion(name, spellings)}")
    if spelling.implied == "":
        return f"--{spelling.name}"
    if not equals:
        following = next(rest, None) if spelling.implied is None else spelling.implied
        if following is None:
            raise SpellingError(f"{argument}: give a value after it")
        value = following
    return f"--{spelling.name}={value}"


def _suggestion(name: str, spellings: Mapping[str, Spelling]) -> str:
    letter = spellings.get(name[:1])
    if letter is not None and letter.implied is None and not name.isalpha():
        return f"; did you mean -{name[0]} {name[1:]}?"
    near = difflib.get_close_matches(name, spellings, n=1)
    return f"; did you mean --{spellings[near[0]].name}?" if near else ""


SHOWN_MAX = 80  # characters of a name that is none which are repeated to the user
