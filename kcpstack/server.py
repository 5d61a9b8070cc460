"""The server: one UDP port, a session for each client that calls, and streams handed to a factory."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.addresses import shown
from kcpstack.batch import BytesLike, PeerAddress
from kcpstack.closing import Drain, Outcome, endNow
from kcpstack.errors import PeerSilent
from kcpstack.interfaces import IDatagramTransport
from kcpstack.kernels.segment import Glimpse
from kcpstack.layers.fanout import Fanout
from kcpstack.layers.kcp import KCPSession
from kcpstack.layers.relay import RelayFactory
from kcpstack.layers.smux import KEEPALIVE_TIMEOUT, SmuxSession
from kcpstack.lograte import BoundedLog, FaultLog
from kcpstack.options import ServerSettings
from kcpstack.stack import Conversation, Port, Surroundings, buildMux, peek

__all__ = ["Server"]


class Server:
    """Sessions of many clients on ``transport``.

    ``streamFactory`` builds a protocol for each stream that a client opens."""

    def __init__(
        self,
        settings: ServerSettings,
        around: Surroundings,
        transport: IDatagramTransport,
        streamFactory: IProtocolFactory,
    ) -> None:
        self._settings = settings
        self._around = around
        self._streamFactory = streamFactory
        self._lines = BoundedLog(_log, around.clock)
        self._faults = FaultLog(_log, "A layer")
        self._muxes: dict[Conversation, SmuxSession] = {}
        self._drain: Drain | None = None
        self._retired: Callable[[], None] | None = None  # to be called when the socket has been closed
        self._known: set[int] = set()  # convs of the sessions that a drain lets go on
        self._fanout = Fanout(self._accept, self._peek, around.counters, self._lines)
        self.port = Port(transport, settings, around)
        self.port.received = self._fanout.datagramsReceived

    def open(self) -> None:
        """Begin to receive.  Raises CannotListenError."""
        self.port.open()

    def conversations(self) -> list[Conversation]:
        """Those of now, the oldest first."""
        return self._fanout.members()

    def reconfigure(self, settings: ServerSettings) -> None:
        """Take over new settings for new sessions; what the port was opened with must be the same."""
        self._settings = settings
        self.port.reconfigure(settings)

    def drain(self, seconds: float, relays: RelayFactory | None = None) -> Deferred[Outcome]:
        """Take no more sessions and streams, and end when the streams that there are have ended and all
        that was written has been acknowledged; after ``seconds`` cut the rest, and tell the clients.  A
        second call cuts at once.

        ``relays`` is the factory of the connections on the streams: they are waited for, and cut, as
        well.  The Deferred fires when the socket is closed; the outcome has been logged then."""
        return self._drainBy(lambda drain: drain.begin(seconds), relays)

    def finish(self, seconds: float) -> Deferred[Outcome]:
        """As ``drain``, but only for streams that were closed, and only while their client acknowledges what was
        written to them.  All others are aborted at once."""
        for conversation in self.conversations():
            conversation.session.watch(_heedless)  # finds out sooner
        return self._drainBy(lambda drain: drain.deliver(seconds, self._owes))

    def retire(self, over: Callable[[], None]) -> None:
        """Take no more sessions and streams, and end each session when the streams on it have ended, however long
        that takes.  ``over()`` is called, perhaps before this returns, when the last has ended and the socket is
        closed."""
        self._known = {conversation.conv for conversation in self.conversations()}
        self._retired = over
        for mux in list(self._muxes.values()):
            mux.retire()
        self._closeIfOver()

    def revive(self) -> bool:
        """Take sessions again, after ``retire``; those of before still take no more streams.  Returns False where it has
        come to its end, or drains."""
        if self._retired is None or self._retired is _nothing or self._drain is not None:
            return False
        self._retired = None
        return True

    def cutNow(self) -> None:
        """Let a drain wait no longer."""
        if self._drain is not None:
            self._drain.cutNow()

    def close(self) -> Deferred[None]:
        """End all sessions at once; each client is told if one flush can do it.  Returns a Deferred
        that fires when the socket is closed."""
        if self._drain is not None:
            self._drain.endNow()
        return self._endAll()

    def _drainBy(self, begin: Callable[[Drain], None], relays: RelayFactory | None = None) -> Deferred[Outcome]:
        if self._drain is not None:
            self._drain.cutNow()
            return self._drain.whenOver()
        self._known = {conversation.conv for conversation in self.conversations()}
        self._drain = Drain(self._around.clock, lambda: list(self._muxes.values()), self._endAll, relays)
        begin(self._drain)
        return self._drain.whenOver()

    def _owes(self) -> bool:
        return any(mux.owes and not conversation.session.silent for conversation, mux in self._muxes.items())

    def _endAll(self) -> Deferred[None]:
        for conversation, mux in list(self._muxes.items()):
            endNow(mux, conversation.session, self.port.schedule)
        return self.port.transport.stopListening()

    def _peek(self, buffer: BytesLike, start: int, end: int) -> Glimpse | None:
        """As ``peek``, but blind to new conversations while we drain."""
        seen = peek(buffer, start, end)
        closing = self._drain is not None or self._retired is not None
        return seen if seen is None or not closing or seen.conv in self._known else None

    def _accept(self, address: PeerAddress, conv: int) -> Conversation | None:
        try:
            conversation = Conversation(self.port, conv, address, True, self._ended)
            mux = buildMux(conversation, self._settings, self._around, self._streamFactory)
        except Exception:  # noqa: BLE001 - a stranger's layer must not stop the port
            self._faults.failed("to be built for a session, which is refused")
            return None
        conversation.session.watch(self._silent, PATIENCE)
        mux.keepLedger(conversation.arq)
        self._muxes[conversation] = mux
        self._lines.info("Session {conv:08x} from {peer}", conv=conv, peer=shown(address))
        return conversation

    def _silent(self, session: KCPSession) -> None:
        """Nobody acknowledges what we send: the client is gone, whether or not smux listens for it
        (it does not while its streams are stopped)."""
        session.connectionLost(Failure(PeerSilent(f"nothing acknowledged for {PATIENCE / 1000:.0f} s")))

    def _ended(self, conversation: Conversation) -> None:
        self._fanout.forget(conversation)
        self._lines.info("Session {conv:08x} is over", conv=conversation.conv)
        self._known.discard(conversation.conv)
        mux = self._muxes.pop(conversation)
        if self._drain is not None:
            self._drain.sessionEnded(mux)
        else:
            self._closeIfOver()

    def _closeIfOver(self) -> None:
        if self._retired is not None and not self._muxes:
            over, self._retired = self._retired, _nothing
            self.port.transport.stopListening()
            over()


def _heedless(session: KCPSession) -> None:
    """That it is silent is asked for."""


def _nothing() -> None:
    """It is over, and whoever wanted to know has been told."""


PATIENCE = KEEPALIVE_TIMEOUT * 1000  # ms

_log = Logger()
