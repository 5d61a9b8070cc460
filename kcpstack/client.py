"""The client: a session to the server, dialled when it is needed, and streams on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.interfaces import IDatagramTransport, IStreamTransport
from kcpstack.link import Link
from kcpstack.options import ClientSettings
from kcpstack.stack import Port, Surroundings

__all__ = ["Client"]

# Makes the datagram transport towards (numeric host, port).
NewTransport = Callable[["tuple[str, int]"], IDatagramTransport]


class Client:
    """Streams to one server.

    ``newTransport`` makes a socket for each session, and ``resolveName`` finds an address of a host:
    it returns a Deferred of a numeric host.  ``links`` are the sessions that are up, the oldest first;
    new streams go to the last one.

    Once started it keeps a session ready.  When the server is silent although something waits for its
    ack, or has forgotten the session, a new one is dialled on a socket of its own, and takes the new
    streams; the old one goes on with those it has.  When the last one ends, the next is dialled after a
    pause that grows while nothing answers."""

    def __init__(
        self,
        settings: ClientSettings,
        around: Surroundings,
        newTransport: NewTransport,
        resolveName: Callable[[str], defer.Deferred[str]],
    ) -> None:
        self.links: list[Link] = []
        self._settings = settings
        self._around = around
        self._newTransport = newTransport
        self._resolveName = resolveName
        self._dialling: defer.Deferred[Any] | None = None  # the name is being resolved
        self._waiters: list[defer.Deferred[Link]] = []  # for the session that is being dialled
        self._keepsReady = False
        self._pause = PAUSE_FIRST
        self._redial: Any = None  # DelayedCall

    def start(self) -> None:
        """Dial, and keep a session ready from now on."""
        self._keepsReady = True
        self._dial()

    def openStream(self, protocol: Any) -> defer.Deferred[IStreamTransport]:
        """Open a stream for ``protocol`` (IProtocol), dialling the server if there is no session.

        Does not wait for the server: what is written goes out with the first datagram.  Fails
        where the server's name cannot be resolved or no socket can be had."""
        return self._link().addCallback(lambda link: link.mux.openStream(protocol))

    def close(self) -> None:
        """End all sessions at once, and with them their streams."""
        self._keepsReady = False
        self._cancelRedial()
        if self._dialling is not None:
            self._dialling.cancel()
        for link in list(self.links):
            link.conversation.session.abortConnection()

    def _link(self) -> defer.Deferred[Link]:
        if self._ready():
            return defer.succeed(self.links[-1])
        waiter: defer.Deferred[Link] = defer.Deferred()
        self._waiters.append(waiter)
        self._dial()
        return waiter

    def _ready(self) -> bool:
        """Whether the newest session takes streams: not one that was retired for a newer, now gone."""
        return bool(self.links) and self.links[-1].mux.connected

    def _dial(self) -> None:
        if self._dialling is not None:
            return
        self._cancelRedial()
        self._dialling = defer.maybeDeferred(self._resolveName, self._settings.remoteaddr.host)
        self._dialling.addCallback(self._open).addCallbacks(self._opened, self._failed)

    def _open(self, host: str) -> Link:
        peer = (host, self._settings.remoteaddr.port)
        port = Port(self._newTransport(peer), self._settings, self._around)
        port.open()
        return Link(port, peer, self._settings, self._around, self)

    def _opened(self, link: Link) -> None:
        self._dialling = None
        self.links.append(link)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(link)

    def _failed(self, reason: Failure) -> None:
        self._dialling = None
        waiters, self._waiters = self._waiters, []
        peer = self._settings.remoteaddr
        if not reason.check(defer.CancelledError):
            _log.error("No session to {peer}: {why}", peer=peer, why=reason.getErrorMessage())
        for waiter in waiters:
            waiter.errback(reason)
        self._dialLater()

    def _dialLater(self) -> None:
        if self._keepsReady and self._redial is None and self._dialling is None:
            self._redial = self._around.clock.callLater(self._pause, self._dialAgain)
            self._pause = min(self._pause * 2, PAUSE_MAX)

    def _dialAgain(self) -> None:
        self._redial = None
        self._dial()

    def _cancelRedial(self) -> None:
        if self._redial is not None:
            self._redial.cancel()
            self._redial = None

    # ------------------------------------------------------------ for the links

    def linkAnswered(self, link: Link) -> None:
        """The server has been heard on ``link``: sessions from before it are only kept for the
        streams they have."""
        self._pause = PAUSE_FIRST
        for older in self.links[: self.links.index(link)]:
            older.retire()

    def linkSilent(self, link: Link) -> None:
        """Nothing comes on ``link`` any more, or only what does not fit."""
        if self._keepsReady and link is self.links[-1]:
            self._dial()

    def linkEnded(self, link: Link) -> None:
        """``link`` is over, and its socket closed."""
        if link in self.links:
            self.links.remove(link)
        if not self._ready() or self.links[-1].silent:
            self._dialLater()


PAUSE_FIRST = 1.0  # s before a session is dialled again
PAUSE_MAX = 30.0  # s; when a server comes back after hours, its clients are there within half a minute

_log = Logger()
