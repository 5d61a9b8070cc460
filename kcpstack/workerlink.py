"""What a server's parent process and its workers say to each other: AMP over two pipes.

A worker ends when the parent's pipe does: this is how it is told to, and how it finds out that the parent has died.
The options, the key among them, go through the pipe too: nobody finds them in a command line or an environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from kcpstack.options import ServerSettings, optionsOf
from kcpstack.options.settings import SETTINGS
from kcpstack.options.table import SERVER

__all__ = [
    "ORDERS",
    "REPORTS",
    "SOCKETS",
    "Begin",
    "Count",
    "CutNow",
    "Drain",
    "Link",
    "Reconfigure",
    "Said",
    "Told",
    "asTexts",
    "fromTexts",
    "tooLong",
]

# A worker's file descriptors.  What is written to 1 and 2 goes into the log as it is.
ORDERS = 0
REPORTS = 3
SOCKETS = 4  # and those that follow, one for each port


class Texts(amp.Argument):
    """Anything that JSON can say, as bytes of ASCII."""

    def toString(self, inObject: Any) -> bytes:
        return json.dumps(inObject).encode("ascii")

    def fromString(self, inString: bytes) -> Any:
        return json.loads(inString)


Arguments = list[tuple[bytes, amp.Argument]]


# To a worker.


class Begin(amp.Command):
    """The first: listen, with these settings.  Answered once it does."""

    arguments: ClassVar[Arguments] = [(b"settings", Texts())]


class Reconfigure(amp.Command):
    """Take over new settings."""

    arguments: ClassVar[Arguments] = [(b"settings", Texts())]


class Count(amp.Command):
    """What have you counted?"""

    response: ClassVar[Arguments] = [(b"counts", Texts())]


class Drain(amp.Command):
    """Take nothing new, and let what is open end, for ``closewait`` seconds.  Answered once it has, with an Outcome."""

    response: ClassVar[Arguments] = [(b"outcome", Texts())]


class CutNow(amp.Command):
    """Wait no longer."""

    requiresAnswer = False


# To the parent.


class Told(amp.Command):
    """What this worker has counted: once a second where that has changed, so that little of it dies with a worker."""

    arguments: ClassVar[Arguments] = [(b"counts", Texts())]
    requiresAnswer = False


class Said(amp.Command):
    """A line for the log."""

    arguments: ClassVar[Arguments] = [(b"level", Texts()), (b"namespace", Texts()), (b"text", Texts())]
    requiresAnswer = False


class Link(amp.AMP):
    """Either end.  (AMP itself logs that it has begun, and that it has ended.)"""

    def makeConnection(self, transport: Any) -> None:
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None


def asTexts(settings: ServerSettings) -> dict[str, str]:
    """Settings as the command line would have them, by the options' names."""
    return {option.name: str(getattr(settings, option.name)) for option in optionsOf(SERVER) if option.setting}


def fromTexts(texts: Mapping[str, str]) -> ServerSettings:
    """The reverse.  An option that is not there has its default: a worker may be started again after an update."""
    values = {
        option.name: option.kind.parse(texts[option.name])
        for option in optionsOf(SERVER)
        if option.setting and option.name in texts
    }
    return cast(ServerSettings, SETTINGS[SERVER](**values))


def tooLong(settings: ServerSettings) -> bool:
    """Whether these are more than AMP can carry."""
    return len(json.dumps(asTexts(settings))) > BOX_MAX


BOX_MAX = 65535  # bytes of a value in AMP
