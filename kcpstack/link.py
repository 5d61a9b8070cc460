"""One session to the server, from its socket up to its streams."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectError, ConnectionLost, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.batch import Batch
from kcpstack.layers.kcp import KCPSession
from kcpstack.options import ClientSettings
from kcpstack.stack import Conversation, Port, Surroundings, buildMux

__all__ = ["CONNECT_TIMEOUT", "Link"]


class Link:
    """One session to the server, from its socket up to its ``mux``.

    The server has CONNECT_TIMEOUT seconds to answer for the first time.  Then, or when smux finds it
    silent, the session ends, its streams with it, and the socket closes.

    ``client`` is told of what happens: ``linkAnswered``, ``linkSilent`` and ``linkEnded``, each with
    this link."""

    def __init__(
        self,
        port: Port,
        peer: tuple[str, int],
        settings: ClientSettings,
        around: Surroundings,
        client: Any,
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
GIVE_UP = 5.0  # s; a path that was only cut for a moment is back by then
CONNECT_TIMEOUT = 10  # s; three times the longest a KCP peer needs for a first answer over a bad path

_log = Logger()
