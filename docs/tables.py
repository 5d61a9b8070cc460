"""Directives whose content comes from the code, so that no page can say otherwise.

    .. options:: client        the option table, one command's rows
    .. option-tests::          every option, with the tests that show it at work
    .. modes::                 what each mode stands for
    .. counters:: SNMP         one of the tables of names in kcpstack.counters
    .. layer-kinds::           the kinds of layers that can come from outside
    .. interfaces::            every interface of kcpstack.interfaces, with its contract
    .. public-api::            every public module, and its public names
    .. endpoint-keywords:: server   the options that an endpoint takes as keywords
    .. reasons::               why a connection of an endpoint was lost
    .. mis-set-ups::           the ways to set a tunnel up wrong, and the lines that say so
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc, isroutine
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from misconfigurations import ROWS
from optiontests import testsOfOptions
from sphinx.util.docutils import SphinxDirective
from zope.interface.interface import InterfaceClass, Method

from kcpstack import ALL, PUBLIC, counters, errors, interfaces
from kcpstack.endpointoptions import DEFAULTS, keywordsOf
from kcpstack.options import BY_VALUES, MODES, Mode, Option, dashed, optionsOf
from kcpstack.options.helptext import defaultText, valueText
from kcpstack.seams import SEAMS, Seam


def escaped(text: str) -> str:
    """Plain text as reStructuredText that says the same."""
    return "".join("\\" + character if character in "\\`*_|" else character for character in text)


def listTable(widths: str, rows: list[list[str]]) -> Iterator[str]:
    """A table in reStructuredText; the first row is its head."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in rows:
        for column, cell in enumerate(row):
            yield f"   {'* -' if column == 0 else '  -'} {cell}"
    yield ""


class Generated(SphinxDirective):
    """A directive that is replaced by the reStructuredText of ``lines``."""

    def lines(self) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        container = nodes.Element()
        container.document = self.state.document
        source = f"<{self.name}>"
        self.state.nested_parse(StringList(list(self.lines()), source), 0, container, match_titles=1)
        return container.children


class Options(Generated):
    required_arguments = 1

    def lines(self) -> Iterator[str]:
        (role,) = self.arguments
        for group in dict.fromkeys(option.group for option in optionsOf(role)):
            rows = [["Option", "Default", "Accepts", "What it sets", "Beside kcptun", "After SIGHUP"]]
            rows += [self.row(role, option) for option in optionsOf(role) if option.group == group]
            yield from (f".. rubric:: {group}", "")
            yield from listTable("18 12 16 24 20 10", rows)

    @staticmethod
    def row(role: str, option: Option) -> list[str]:
        names = [f"-{option.short}"] if option.short else []
        names += [dashed(name) for name in (option.name, *option.aliases)]
        default = f"{defaultText(role, option)} {option.kind.unit}".strip()
        variable = f" Or by the variable ``{option.environment}``." if option.environment else ""
        return [
            ", ".join(f"``{name}``" for name in names),
            escaped(default),
            escaped(option.kind.accepts),
            escaped(option.help[0].upper() + option.help[1:] + ".") + variable,
            Options.beside(option),
            option.reloadFor(role) if option.setting else "",
        ]

    @staticmethod
    def beside(option: Option) -> str:
        if not option.kcptun:
            return "kcptun has no such option"
        key = f" In the file: ``{option.jsonKey}``." if option.jsonKey not in ("", option.name) else ""
        return (escaped(option.difference) or "the same") + key


class OptionTests(Generated):
    def lines(self) -> Iterator[str]:
        rows = [["Option", "Tests"]]
        for name, tests in testsOfOptions().items():
            rows.append([f"``{dashed(name)}``", ", ".join(f"``{test.partition('tests/')[2]}``" for test in tests)])
        yield from listTable("20 80", rows)


class Modes(Generated):
    def lines(self) -> Iterator[str]:
        rows = [["Mode", *(f"``{name}``" for name in Mode._fields)]]
        rows += [[f"``{name}``", *map(str, mode)] for name, mode in MODES.items()]
        rows += [[f"``{name}``", *("as given" for _ in Mode._fields)] for name in BY_VALUES]
        yield from listTable("20 20 20 20 20", rows)


class Counters(Generated):
    required_arguments = 1

    def lines(self) -> Iterator[str]:
        table = self.arguments[0]
        rows = [["Counter", "Counts", "Beside kcp-go"]]
        for name, what in getattr(counters, table).items():
            counted = f"the same as ``{what}``" if table == "ALIASES" else escaped(what)
            rows.append([f"``{name}``", counted, escaped(counters.DIFFERENCES.get(name, "the same"))])
        if table in ("OWN", "ALIASES"):  # nothing there to compare
            yield from listTable("30 70", [row[:2] for row in rows])
        else:
            yield from listTable("24 32 44", rows)


class Interfaces(Generated):
    def lines(self) -> Iterator[str]:
        for name in (name for name in vars(interfaces) if name in interfaces.__all__):
            interface = getattr(interfaces, name)
            yield from (f".. py:class:: kcpstack.interfaces.{name}", "")
            yield from indented(interface.getDoc(), 3)
            for member, description in interface.namesAndDescriptions():
                yield from self.member(member, description)

    @staticmethod
    def member(name: str, description: Any) -> Iterator[str]:
        if isinstance(description, Method):
            yield f"   .. py:method:: {name}{description.getSignatureString()}"
        else:
            yield f"   .. py:attribute:: {name}"
        yield ""
        yield from indented(description.getDoc(), 6)


class LayerKinds(Generated):
    def lines(self) -> Iterator[str]:
        rows = [["Kind", "Option", "Factory", "What it has besides its name", "Those of ours"]]
        rows += [self.row(seam) for seam in SEAMS]
        yield from listTable("16 14 24 24 22", rows)

    @staticmethod
    def row(seam: Seam) -> list[str]:
        interface, catalogue = seam.catalogue.interface, seam.catalogue
        members = [
            f"``{name}{description.getSignatureString() if isinstance(description, Method) else ''}``"
            for name, description in interface.namesAndDescriptions()
        ]
        ours = [name for name, factory in catalogue.factories().items() if type(factory).__module__.startswith("kcpstack.")]
        prefix = "@" if seam.option == "target" else ""
        return [
            catalogue.noun,
            f"``{dashed(seam.option)} {prefix}NAME``",
            f":py:class:`~kcpstack.interfaces.{interface.__name__}`",
            ", ".join(members),
            ", ".join(f"``{prefix}{name}``" for name in sorted(ours)),
        ]


def publicNames() -> dict[str, list[str]]:
    """The names that others may import, by module."""
    return {
        module: sorted(import_module(module).__all__ if names == ALL else names) for module, names in PUBLIC.items()
    }


class PublicAPI(Generated):
    def lines(self) -> Iterator[str]:
        for module, names in publicNames().items():
            found = import_module(module)
            yield from (f".. rubric:: {module}", "", summary(found), "")
            rows = [[f"``{name}``", self.what(getattr(found, name))] for name in names]
            yield from listTable("34 66", [["Name", "What it is"], *rows])

    @staticmethod
    def what(value: Any) -> str:
        if isinstance(value, (InterfaceClass, type)) or isroutine(value):
            return summary(value)
        return "A type." if hasattr(value, "__origin__") else f"Of type ``{type(value).__name__}``."


def summary(documented: Any) -> str:
    """The first sentence of a docstring, or its first paragraph."""
    paragraph = " ".join(cleandoc(documented.__doc__ or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.])\s+(?=[A-Z])", paragraph)[0].replace("::", ":")


class EndpointKeywords(Generated):
    required_arguments = 1

    def lines(self) -> Iterator[str]:
        (role,) = self.arguments
        rows = [["Keyword", "Default", "Accepts", "What it sets"]]
        for option in keywordsOf(role):
            names = ", ".join(f"``{name}``" for name in (option.name, *option.aliases))
            default = valueText(option, DEFAULTS.get(option.name, option.defaultFor(role)))
            default = {"on": "yes", "off": "no"}.get(default, default) if not option.metavar else default
            accepts = option.kind.accepts if option.metavar else "yes or no"
            what = escaped(option.help[0].upper() + option.help[1:] + ".")
            rows.append([names, escaped(default), escaped(accepts), what])
        yield from listTable("18 16 28 38", rows)


class Reasons(Generated):
    def lines(self) -> Iterator[str]:
        rows = [["Reason", "What has happened"]]
        rows.append(["``ConnectionDone``", "A clean end: both directions have ended, with all that was written."])
        rows.append(["``ConnectionAborted``", "You have aborted it, or your process is stopping."])
        for name in errors.__all__:
            rows.append([f"``{name}``", escaped(cleandoc(getattr(errors, name).__doc__))])
        yield from listTable("25 75", rows)


class MisSetUps(Generated):
    def lines(self) -> Iterator[str]:
        rows = [["What is wrong", "Client to server", "Which end says", "The line", "Within"]]
        for row in ROWS:
            rows.append([escaped(row.wrong), escaped(row.between), row.says, f"``{row.line}``", f"{row.seconds:g} s"])
        yield from listTable("22 14 10 46 8", rows)


def indented(docstring: str, columns: int) -> Iterator[str]:
    yield from (" " * columns + line for line in cleandoc(docstring).splitlines())
    yield ""


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("options", Options)
    app.add_directive("option-tests", OptionTests)
    app.add_directive("modes", Modes)
    app.add_directive("counters", Counters)
    app.add_directive("layer-kinds", LayerKinds)
    app.add_directive("interfaces", Interfaces)
    app.add_directive("public-api", PublicAPI)
    app.add_directive("endpoint-keywords", EndpointKeywords)
    app.add_directive("reasons", Reasons)
    app.add_directive("mis-set-ups", MisSetUps)
    return {"parallel_read_safe": True}
