"""The client: a session to the server, dialled when it is needed, and streams on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.error import ConnectError, ConnectionLost, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.batch import Batch
from kcpstack.interfaces import IDatagramTransport, IStreamTransport
from kcpstack.layers.kcp import KCPSession
from kcpstack.options import ClientSettings
from kcpstack.stack import Conversation, Port, Surroundings, buildMux

__all__ = ["Client", "Link"]

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


class Link:
    """One session to the server, from its socket up to its ``mux``.

    The server has CONNECT_TIMEOUT seconds to answer for the first time.  Then, or when smux finds it
    silent, the session ends, its streams with it, and the socket closes."""

    def __init__(
        self,
        port: Port,
        peer: tuple[str, int],
        settings: ClientSettings,
        around: Surroundings,
        client: Client,
    ) -> None:
        self._port = port
        self._peer = settings.remoteaddr
        self._client = client
        self._around = around
        self._refused = False
        self._dialledAt = around.clock.seconds()
        self.conversation = Conversation(port, around.newConversation(), None, False, self._over, peer)
        self.conversation.session.watch(self._silent)
        port.received = self._firstReceived
        port.refused = self._nobodyListens
        self._timeout = around.clock.callLater(CONNECT_TIMEOUT, self._timedOut)
        self.mux = buildMux(self.conversation.session, settings, around)
        _log.info("Session {conv:08x} to {peer}", conv=self.conversation.conv, peer=self._peer)

    @property
    def silent(self) -> bool:
        """Whether the server leaves us waiting."""
        return self.conversation.session.silent

    def retire(self) -> None:
        """The server answers on a newer session.  Keep this one for the streams that it has; where it is
        still silent after GIVE_UP seconds, the server has forgotten it, and they should know."""
        self.mux.retire()
        if self.silent and not self._timeout.active():
            self._timeout = self._around.clock.callLater(GIVE_UP, self._giveUp)

    def _giveUp(self) -> None:
        if self.silent:
            reason = f"{self._peer} answers a new session, but not this one any more"
            _log.warn("Session {conv:08x} failed: {why}", conv=self.conversation.conv, why=reason)
            self.conversation.connectionLost(Failure(ConnectionLost(reason)))

    def _firstReceived(self, batch: Batch) -> None:
        """Nobody who has not our key gets a datagram this far; but it may be of another session."""
        self.conversation.datagramsReceived(batch)
        session = self.conversation.session
        if session.established and session.connected:
            self._port.received = self.conversation.datagramsReceived
            self._timeout.cancel()
            _log.info(
                "Session {conv:08x}: the server answered after {ms:.0f} ms",
                conv=self.conversation.conv,
                ms=(self._around.clock.seconds() - self._dialledAt) * 1000,
            )
            self._client.linkAnswered(self)

    def _silent(self, session: KCPSession) -> None:
        if session.established:  # else it is _timedOut that knows what to say
            _log.warn(
                "Session {conv:08x}: {peer} leaves us waiting; dialling a new session{hint}",
                conv=self.conversation.conv,
                peer=self._peer,
                hint="" if session.spoken else NEVER_SPOKEN,
            )
            self._client.linkSilent(self)

    def _nobodyListens(self) -> None:
        """ICMP says so.  It may be forged, or the server about to start: go on trying."""
        if not self._refused and not self.conversation.session.established:
            self._refused = True
            _log.warn(
                "{peer} refuses UDP: no server listens there (is it started, and on this port?)", peer=self._peer
            )

    def _timedOut(self) -> None:
        error: Exception
        if self._refused:
            error = ConnectError(string=f"no server listens at {self._peer}")
        else:
            error = TimeoutError(
                string=f"no answer from {self._peer} in {CONNECT_TIMEOUT} s: is a server there, with the same "
                "--key and --crypt, and does a firewall let its UDP through?"
            )
        _log.error("Session {conv:08x} failed: {why}", conv=self.conversation.conv, why=error)
        self.conversation.connectionLost(Failure(error))

    def _over(self, conversation: Conversation) -> None:
        if self._timeout.active():
            self._timeout.cancel()
        self._port.transport.stopListening()
        _log.info("Session {conv:08x} to {peer} is over", conv=conversation.conv, peer=self._peer)
        self._client.linkEnded(self)


NEVER_SPOKEN = (
    ".  It acknowledges, but has never said a word: are --smuxver and --nocomp the same there?  "
    "(Debian's kcptun has smuxver 1 unless told otherwise)"
)
PAUSE_FIRST = 1.0  # s before a session is dialled again
PAUSE_MAX = 30.0  # s; when a server comes back after hours, its clients are there within half a minute
GIVE_UP = 5.0  # s; a path that was only cut for a moment is back by then
CONNECT_TIMEOUT = 10  # s; three times the longest a KCP peer needs for a first answer over a bad path

_log = Logger()
