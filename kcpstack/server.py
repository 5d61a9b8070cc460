"""The server: one UDP port, a session for each client that calls, and streams handed to a factory."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.addresses import shown
from kcpstack.interfaces import IDatagramTransport
from kcpstack.layers.fanout import Fanout
from kcpstack.layers.kcp import KCPSession
from kcpstack.layers.smux import KEEPALIVE_TIMEOUT
from kcpstack.lograte import BoundedLog
from kcpstack.options import ServerSettings
from kcpstack.stack import Conversation, Port, Surroundings, buildMux, peek

__all__ = ["Server"]


class Server:
    """Sessions of many clients on ``transport``.

    ``streamFactory`` (IProtocolFactory) builds a protocol for each stream that a client opens."""

    def __init__(
        self,
        settings: ServerSettings,
        around: Surroundings,
        transport: IDatagramTransport,
        streamFactory: Any,
    ) -> None:
        self._settings = settings
        self._around = around
        self._streamFactory = streamFactory
        self._lines = BoundedLog(_log, around.clock)
        self._fanout = Fanout(self._accept, peek, around.counters, self._lines)
        self.port = Port(transport, settings, around)
        self.port.received = self._fanout.datagramsReceived

    def open(self) -> None:
        """Begin to receive.  Raises CannotListenError."""
        self.port.open()

    def conversations(self) -> list[Conversation]:
        """Those of now, the oldest first."""
        return self._fanout.members()

    def close(self) -> Any:
        """End all sessions at once.  Returns a Deferred that fires when the socket is closed."""
        for conversation in self.conversations():
            conversation.session.abortConnection()
        return self.port.transport.stopListening()

    def _accept(self, address: Any, conv: int) -> Conversation:
        conversation = Conversation(self.port, conv, address, True, self._ended)
        conversation.session.watch(self._silent, PATIENCE)
        buildMux(conversation.session, self._settings, self._around, self._streamFactory)
        self._lines.info("Session {conv:08x} from {peer}", conv=conv, peer=shown(address))
        return conversation

    def _silent(self, session: KCPSession) -> None:
        """Nobody acknowledges what we send: the client is gone, whether or not smux listens for it
        (it does not while its streams are stopped)."""
        session.connectionLost(Failure(ConnectionLost(f"nothing acknowledged for {PATIENCE / 1000:.0f} s")))

    def _ended(self, conversation: Conversation) -> None:
        self._fanout.forget(conversation)
        self._lines.info("Session {conv:08x} is over", conv=conversation.conv)


PATIENCE = KEEPALIVE_TIMEOUT * 1000  # ms

_log = Logger()
