"""The client: a session to the server, dialled when it is needed, and streams on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectError, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.interfaces import IDatagramTransport, IStreamTransport
from kcpstack.options import ClientSettings
from kcpstack.stack import Conversation, Port, Surroundings, buildMux

__all__ = ["Client", "Link"]

# Makes the datagram transport towards (numeric host, port).
NewTransport = Callable[["tuple[str, int]"], IDatagramTransport]


class Client:
    """Streams to one server.

    ``newTransport`` makes a socket for each session, and ``resolveName`` finds an address of a host:
    it returns a Deferred of a numeric host.  ``links`` are the sessions that are up, the oldest first;
    new streams go to the last one."""

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
        self._waiters: list[defer.Deferred[Link]] = []  # for the session that is being dialled

    def openStream(self, protocol: Any) -> defer.Deferred[IStreamTransport]:
        """Open a stream for ``protocol`` (IProtocol), dialling the server if there is no session.

        Does not wait for the server: what is written goes out with the first datagram.  Fails
        where the server's name cannot be resolved or no socket can be had."""
        return self._link().addCallback(lambda link: link.mux.openStream(protocol))

    def close(self) -> None:
        """End all sessions at once, and with them their streams."""
        for link in list(self.links):
            link.conversation.session.abortConnection()

    def _link(self) -> defer.Deferred[Link]:
        if self.links:
            return defer.succeed(self.links[-1])
        waiter: defer.Deferred[Link] = defer.Deferred()
        self._waiters.append(waiter)
        if len(self._waiters) == 1:
            found = defer.maybeDeferred(self._resolveName, self._settings.remoteaddr.host)
            found.addCallback(self._dial).addCallbacks(self._dialled, self._failed)
        return waiter

    def _dial(self, host: str) -> Link:
        peer = (host, self._settings.remoteaddr.port)
        port = Port(self._newTransport(peer), self._settings, self._around)
        port.open()
        return Link(port, peer, self._settings, self._around, self._ended)

    def _dialled(self, link: Link) -> None:
        self.links.append(link)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(link)

    def _failed(self, reason: Failure) -> None:
        waiters, self._waiters = self._waiters, []
        peer = self._settings.remoteaddr
        _log.error("No session to {peer}: {why}", peer=peer, why=reason.getErrorMessage())
        for waiter in waiters:
            waiter.errback(reason)

    def _ended(self, link: Link) -> None:
        if link in self.links:
            self.links.remove(link)


class Link:
    """One session to the server, from its socket up to its ``mux``.

    The server has CONNECT_TIMEOUT seconds to answer for the first time.  Then, or when smux finds it
    silent, the session ends, its streams with it; ``ended(link)`` is called and the socket closes."""

    def __init__(
        self,
        port: Port,
        peer: tuple[str, int],
        settings: ClientSettings,
        around: Surroundings,
        ended: Callable[[Link], None],
    ) -> None:
        self._port = port
        self._peer = settings.remoteaddr
        self._ended = ended
        self._refused = False
        remote = (IPv6Address if ":" in peer[0] else IPv4Address)("UDP", *peer)
        self.conversation = Conversation(port, around.newConversation(), None, False, self._over, remote)
        port.received = self.conversation.datagramsReceived
        port.refused = self._nobodyListens
        self._timeout = around.clock.callLater(CONNECT_TIMEOUT, self._timedOut)
        self.mux = buildMux(self.conversation.session, settings, around)
        _log.info("Session {conv:08x} to {peer}", conv=self.conversation.conv, peer=self._peer)

    def _nobodyListens(self) -> None:
        """ICMP says so.  It may be forged, or the server about to start: go on trying."""
        if not self._refused and not self.conversation.session.heard:
            self._refused = True
            _log.warn(
                "{peer} refuses UDP: no server listens there (is it started, and on this port?)", peer=self._peer
            )

    def _timedOut(self) -> None:
        if self.conversation.session.heard:
            return
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
        self._ended(self)


CONNECT_TIMEOUT = 10  # s; three times the longest a KCP peer needs for a first answer over a bad path

_log = Logger()
