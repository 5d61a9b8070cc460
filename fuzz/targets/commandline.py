"""The command line: kcpstack/options/spelling.py, and the whole of commandline.py."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any, ClassVar

from twisted.python import usage

from fuzz.records import Fields
from kcpstack.options import ClientOptions, ServerOptions
from kcpstack.options.commandline import spellingsOf
from kcpstack.options.spelling import SpellingError, respell

LINE_MAX = 1000  # characters
BETWEEN = "\n"  # arguments of an input


class Client(ClientOptions):
    """Opens no files."""

    environ: ClassVar[dict[str, str]] = {}

    @staticmethod
    def _openLog(path: str) -> None:
        return None


class Server(ServerOptions):
    """Opens no files."""

    environ: ClassVar[dict[str, str]] = {}

    @staticmethod
    def _openLog(path: str) -> None:
        return None


def check(data: bytes) -> None:
    """Every spelling becomes ours, and ours stays; settings, or an error of one line, or help and an exit."""
    fields = Fields(data)
    options: Any = fields.pick((Client, Server))()
    arguments = fields.rest().decode("utf-8", "surrogateescape").split(BETWEEN)
    spellings = spellingsOf(options.role)
    try:
        respelled = respell(arguments, spellings)
    except SpellingError as error:
        assertLine(str(error))
        respelled = None
    else:
        assert respell(respelled, spellings) == respelled
        assert "--" in respelled or all(one.startswith("--") for one in respelled)
        if any(one.startswith("--c=") for one in respelled):
            return  # reads a file, which is another target
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            options.parseOptions(arguments)
    except usage.UsageError as error:
        assertLine(str(error))
    except SystemExit as exit:
        assert exit.code == 0 and printed.getvalue().strip(), "it ended without a word"
    else:
        assert respelled is not None
        assert options.settings() == options.settings()


def assertLine(line: str) -> None:
    assert line and line.isprintable() and len(line) < LINE_MAX, line


def seeds() -> Iterator[bytes]:
    lines = (
        "-l :4000 -t 127.0.0.1:22 -key secret -crypt aes-128 -mode fast3 -mtu=1400 --sndwnd 2048 -nocomp",
        "--localaddr :2222 -r vps:3000-3010 -conn 2 --autoexpire=60 -smuxver=2 -quiet=true -tcp=false",
        "-l :1 -t @x:y --erasure reed-solomon --compressor snappy --congestion none --transport udp",
        "--help",
        "-v",
        "-h",
        "--explain",
        "-mtu1400",
        "-x",
        "--",
        "-",
        "--crpyt aes",
        "-mtu",
        "positional",
        "-l=:1 --dscp 46",
    )
    for number in range(2):
        for line in lines:
            yield bytes([number]) + line.replace(" ", BETWEEN).encode()
