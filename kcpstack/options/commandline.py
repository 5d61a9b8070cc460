"""The command line of ``twistd -n kcptun`` and of ``kcptun``, as Twisted's usage.Options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from twisted.python import usage

import kcpstack
import twisted
from kcpstack.logfile import LogFile
from kcpstack.options.configuration import Configuration, shown, unwritable
from kcpstack.options.explanation import explanation
from kcpstack.options.helptext import LAYERS_HELP, OVERVIEW, commandHelp
from kcpstack.options.layerlist import layerList
from kcpstack.options.settings import ClientSettings, ServerSettings
from kcpstack.options.spelling import Spelling, SpellingError, respell
from kcpstack.options.table import CLIENT, SERVER, optionsOf
from kcpstack.options.values import YesOrNo

LAYERS = "layers"

__all__ = ["ClientOptions", "Options", "ServerOptions", "spellingsOf"]

_HELP = {
    "help": Spelling("help", ""),
    "h": Spelling("help", ""),
    "version": Spelling("version", ""),
    "v": Spelling("version", ""),
}


def spellingsOf(role: str) -> dict[str, Spelling]:
    """Every name of one command's options, without dashes, with those of help and version."""
    spellings = dict(_HELP)
    for option in optionsOf(role):
        spelling = Spelling(option.name, None if option.metavar else "true")
        spellings.update((name, spelling) for name in (option.name, *option.aliases, option.short) if name)
    return spellings


class _TaughtOptions(usage.Options):
    """Options in any of Go's spellings, whose help is ours.  Raises UsageError with one line."""

    spellings: ClassVar[dict[str, Spelling]] = _HELP
    advice = "--help explains every option"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        arguments = sys.argv[1:] if options is None else options
        try:
            respelled = respell(arguments, self.spellings)
        except SpellingError as error:
            line = str(error)
            raise usage.UsageError(line if line.endswith("?") else f"{line}; {self.advice}") from None
        super().parseOptions(respelled)

    def opt_help(self) -> None:
        """Print this, and exit."""
        _printAndExit(str(self))

    def opt_version(self) -> None:
        """Print the versions of kcpstack and Twisted, and exit."""
        _printAndExit(f"kcpstack {kcpstack.__version__} (Twisted {twisted.__version__})\n")

    def getSynopsis(self) -> str:
        return ""

    def __str__(self) -> str:
        return self.getUsage()


class _RoleOptions(_TaughtOptions):
    """The options of one command."""

    role: str
    environ: Mapping[str, str] = os.environ
    configuration: Configuration  # once the command line has been parsed, as
    logFile: LogFile | None  # where there is a --log

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise usage.UsageError(f"{shown(arguments[0])}: every option starts with a dash; {self.advice}")

    def postOptions(self) -> None:
        given = {name: text for name, text in self.items() if text is not None}
        try:
            self.configuration = Configuration(self.role, given, self.environ)
            if YesOrNo().parse(given.get("explain", "false")):
                _printAndExit(explanation(self.configuration))
            self.logFile = self._openLog(self.configuration.settings.log)
        except ValueError as error:
            raise usage.UsageError(str(error)) from None

    @staticmethod
    def _openLog(path: str) -> LogFile | None:
        try:
            return LogFile(path) if path else None
        except OSError as error:
            raise unwritable(path, error) from None

    def getUsage(self, width: int | None = None) -> str:
        return commandHelp(self.role, optionsOf(self.role), width)


def _printAndExit(text: str) -> None:
    """Print ``text``, to somebody who may stop reading after some lines (``| head``)."""
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at the end
    sys.exit(0)


def _parameters(role: str) -> list[list[Any]]:
    """Rows of usage.Options' own kind.  The default is None there: it tells given from not given."""
    return [[option.name, None, None, option.help] for option in optionsOf(role)]


class ClientOptions(_RoleOptions):
    """``kcptun client``."""

    role = CLIENT
    spellings = spellingsOf(CLIENT)
    optParameters = _parameters(CLIENT)

    def settings(self) -> ClientSettings:
        """What was asked for, checked.  To be called after ``parseOptions``."""
        return cast(ClientSettings, self.configuration.settings)


class ServerOptions(_RoleOptions):
    """``kcptun server``."""

    role = SERVER
    spellings = spellingsOf(SERVER)
    optParameters = _parameters(SERVER)

    def settings(self) -> ServerSettings:
        """What was asked for, checked.  To be called after ``parseOptions``."""
        return cast(ServerSettings, self.configuration.settings)


class LayersOptions(_TaughtOptions):
    """``kcptun layers``: prints, and exits."""

    advice = "kcptun layers takes no options"

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise usage.UsageError(f"{shown(arguments[0])}: {self.advice}")

    def postOptions(self) -> None:
        _printAndExit(layerList())

    def getUsage(self, width: int | None = None) -> str:
        return LAYERS_HELP


class Options(_TaughtOptions):
    """``kcptun``: a client or a server.  ``subCommand`` says which, ``settings()`` the rest.

    Under twistd, which would print its own help before an error, a wrong command line ends the
    process with one line on stderr and exit status 1.  Elsewhere ``parseOptions`` raises UsageError.
    """

    subCommands: ClassVar[list[list[Any]]] = [
        [CLIENT, None, ClientOptions, "carry TCP connections to a server"],
        [SERVER, None, ServerOptions, "carry clients' streams to a target"],
        [LAYERS, None, LayersOptions, "list what layers are installed"],
    ]

    advice = "say client, server or layers first; kcptun --help explains them"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        arguments = sys.argv[1:] if options is None else options
        try:
            if arguments and not arguments[0].startswith("-") and arguments[0] not in (CLIENT, SERVER, LAYERS):
                raise usage.UsageError(f"{shown(arguments[0])}: {self.advice}")
            super().parseOptions(arguments)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            sys.exit(" ".join(filter(None, ("kcptun", self.subCommand))) + f": {error}")

    def postOptions(self) -> None:
        if self.subCommand is None:
            raise usage.UsageError(self.advice)

    @property
    def configuration(self) -> Configuration:
        """The settings and where they come from.  Only after ``parseOptions``."""
        found: Configuration = self.subOptions.configuration
        return found

    @property
    def logFile(self) -> LogFile | None:
        """The file of ``--log``, open.  Only after ``parseOptions``."""
        found: LogFile | None = self.subOptions.logFile
        return found

    def settings(self) -> ClientSettings | ServerSettings:
        """What was asked for, checked.  To be called after ``parseOptions``."""
        found: ClientSettings | ServerSettings = self.subOptions.settings()
        return found

    def getUsage(self, width: int | None = None) -> str:
        return OVERVIEW
