"""The client: sessions to the server, and streams dealt over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from twisted.internet import defer
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure

from kcpstack.closing import Drain, Outcome
from kcpstack.interfaces import IStreamTransport
from kcpstack.layers.relay import RelayFactory
from kcpstack.layers.smux import SmuxSession
from kcpstack.link import CONNECT_TIMEOUT, REFUSAL_PATIENCE, Link
from kcpstack.options import ClientSettings
from kcpstack.slot import PAUSE_FIRST, Dialling, NewTransport, Slot
from kcpstack.stack import Surroundings

__all__ = ["ANSWER_TIMEOUT", "Client"]

ANSWER_TIMEOUT = 30.0  # s; kcptun's streams wait for as long, and a server starts again in less


class Client:
    """Streams to one server, over ``settings.conn`` sessions (kcpstack/slot.py).

    ``newTransport`` makes a socket for each session, and ``resolveName`` finds an address of a host:
    it returns a Deferred of a numeric host.

    With ``likeTCP`` a stream is opened once the server has answered on its session, and not opened where the
    network says that no server is there, for REFUSAL_PATIENCE.

    Streams are dealt in turn over the sessions on which the server answers.  With --autoexpire the
    first sessions live for 1/conn, 2/conn ... of that time, so that later ones do not expire together."""

    def __init__(
        self,
        settings: ClientSettings,
        around: Surroundings,
        newTransport: NewTransport,
        resolveName: Callable[[str], defer.Deferred[str]],
        likeTCP: bool = False,
    ) -> None:
        self.keepsReady = False
        self._likeTCP = likeTCP
        self._settings = settings
        self._clock = around.clock
        patience = REFUSAL_PATIENCE if likeTCP else CONNECT_TIMEOUT
        self._dialling = Dialling(settings, around, newTransport, resolveName, patience)
        self._slots = [self._newSlot(number) for number in range(settings.conn)]
        self._leaving: list[Slot] = []  # no longer wanted, but there are streams on them
        self._next = 0  # the slot whose turn it is
        self._waiting: dict[defer.Deferred[IStreamTransport], IProtocol] = {}  # and the protocol of each
        self._trouble = IN_DOUBT  # why nobody answers, as far as we know
        self._drain: Drain | None = None
        self._retired: Callable[[], None] | None = None  # to be called when there is no session any more

    @property
    def links(self) -> list[Link]:
        """The sessions of now, the oldest first, with those that are only kept for their streams."""
        links = [link for slot in (*self._slots, *self._leaving) for link in slot.links]
        return sorted(links, key=lambda link: link.dialledAt)

    def start(self) -> None:
        """Dial, and keep the sessions ready from now on."""
        self.keepsReady = True
        self._dialAll()

    @property
    def answered(self) -> bool:
        """Whether the server has been heard on a session of now."""
        return any(link.answered for link in self.links)

    def openStream(self, protocol: IProtocol, patience: float = ANSWER_TIMEOUT) -> defer.Deferred[IStreamTransport]:
        """Open a stream for ``protocol``, dialling the server if there is no session.

        On a session that was just dialled it does not wait for the server (unless ``likeTCP``): what is
        written goes out with the first datagram.  Where the server is known to be away, it waits for an
        answer, for ``patience`` seconds at most; cancel the Deferred to wait no longer.  Fails where the
        server's name cannot be resolved, no socket can be had, or we are closing."""
        if self._drain is not None or self._retired is not None:
            return defer.fail(ConnectionLost("the client is closing"))
        link = None if self._waiting else self._nextLink()
        if link is not None:
            return defer.execute(link.openStream, protocol)
        opened: defer.Deferred[IStreamTransport] = defer.Deferred(self._forget)
        opened.addTimeout(patience, self._clock, self._unanswered)
        self._waiting[opened] = protocol
        self._dialAll()
        return opened

    def reconfigure(self, settings: ClientSettings, renew: bool) -> None:
        """Take over new settings for new sessions.  ``renew``: dial them at once; they take the new streams
        when the server answers, and those that there were go on with the old settings, for the streams
        that they have."""
        self._settings = settings
        self._dialling.reconfigure(settings)
        for slot in self._slots[settings.conn :]:
            slot.retire()
            self._leaving.append(slot)
        del self._slots[settings.conn :]
        for number in range(len(self._slots), settings.conn):
            self._slots.append(self._newSlot(number))
        for number, slot in enumerate(self._slots) if renew and self.keepsReady else ():
            slot.renew(self._firstLife(number))

    def drain(self, seconds: float, relays: RelayFactory | None = None) -> defer.Deferred[Outcome]:
        """Open no more streams, and end when those that there are have ended and all that was
        written has been acknowledged; after ``seconds`` cut the rest, and tell the server.  A second call
        cuts at once.

        ``relays`` is the factory of the connections on the streams: they are waited for, and cut, as
        well.  The Deferred fires when all sockets are closed; the outcome has been logged then."""
        return self._drainBy(lambda drain: drain.begin(seconds), relays)

    def finish(self, seconds: float) -> defer.Deferred[Outcome]:
        """As ``drain``, but only for streams that were closed, and only while the server acknowledges what was written
        to them.  All others are aborted at once."""
        return self._drainBy(lambda drain: drain.deliver(seconds, self._owes))

    def retire(self, over: Callable[[], None]) -> None:
        """Open no more streams, and end each session when the streams on it have ended; ``over()`` is called,
        perhaps before this returns, when there is no session any more."""
        self._stop(Failure(ConnectionLost("the client is closing")))
        for slot in self._slots:
            slot.retire()
        self._closeUnanswered()
        self._retired = over
        if not self.links:
            over()

    def cutNow(self) -> None:
        """Let a drain wait no longer."""
        if self._drain is not None:
            self._drain.cutNow()

    def close(self) -> None:
        """End all sessions at once, and with them their streams; the server is told if one flush can
        do it."""
        self._stop(Failure(defer.CancelledError()))
        if self._drain is not None:
            self._drain.endNow()
        self._endAll()

    def _drainBy(self, begin: Callable[[Drain], None], relays: RelayFactory | None = None) -> defer.Deferred[Outcome]:
        if self._drain is not None:
            self._drain.cutNow()
            return self._drain.whenOver()
        self._stop(Failure(ConnectionLost("the client is closing")))
        for link in self.links:
            link.spare()
        self._closeUnanswered()
        self._drain = Drain(self._clock, self._muxes, self._endAll, relays)
        begin(self._drain)
        return self._drain.whenOver()

    def _closeUnanswered(self) -> None:
        """Let go of sessions that nobody has answered and nobody uses."""
        for link in self.links:
            if not link.answered and not link.mux.streamCount:
                link.close()

    def _owes(self) -> bool:
        return any(link.mux.owes and not link.silent for link in self.links)

    def _newSlot(self, number: int) -> Slot:
        return Slot(self, self._dialling, self._firstLife(number))

    def _firstLife(self, number: int) -> float | None:
        """When the first session of a slot expires, in seconds."""
        count, life = self._settings.conn, self._settings.autoexpire
        return life * (number + 1) / count if life else None

    def _stop(self, reason: Failure) -> None:
        self.keepsReady = False
        self._failWaiting(reason)
        for slot in self._slots:
            slot.stop()

    def _dialAll(self) -> None:
        for slot in self._slots:
            slot.dial()

    def _endAll(self) -> None:
        for link in self.links:
            link.close()

    def _muxes(self) -> list[SmuxSession]:
        return [link.mux for link in self.links]

    # ------------------------------------------------------------ dealing

    def _nextLink(self) -> Link | None:
        """The link for the next stream: of the slots in turn, one that answers, or else one that may."""
        healthy = self._inTurn(lambda slot: slot.healthy)
        return healthy if healthy is not None or self._likeTCP else self._inTurn(lambda slot: slot.hopeful)

    def _inTurn(self, linkOf: Callable[[Slot], Link | None]) -> Link | None:
        count = len(self._slots)
        for number in range(self._next, self._next + count):
            link = linkOf(self._slots[number % count])
            if link is not None:
                self._next = (number + 1) % count
                return link
        return None

    def _forget(self, opened: defer.Deferred[IStreamTransport]) -> None:
        self._waiting.pop(opened, None)

    def _unanswered(self, result: object, seconds: float) -> NoReturn:
        raise TimeoutError(string=f"{self._settings.remoteaddr} has not answered for {seconds:.0f} s: {self._trouble}")

    def _failWaiting(self, reason: Failure) -> None:
        waiting, self._waiting = self._waiting, {}
        for opened in waiting:
            opened.errback(reason)

    # ------------------------------------------------------------ for the slots

    def slotChanged(self) -> None:
        """A link may have become usable."""
        while self._waiting:
            link = self._nextLink()
            if link is None:
                return
            opened = next(iter(self._waiting))
            opened.callback(link.openStream(self._waiting.pop(opened)))

    def dialFailed(self, reason: Failure) -> None:
        """There is no address, or no socket.  Nobody waits for that to change, unless another session
        may be answered."""
        self._trouble = reason.getErrorMessage()
        if not any(slot.trying for slot in self._slots):
            self._failWaiting(reason)

    def linkEnded(self, link: Link) -> None:
        """``link`` is over."""
        if link.failure is not None:
            self._trouble = link.failure.getErrorMessage()
        self._leaving = [slot for slot in self._leaving if slot.links]
        if self._drain is not None:
            self._drain.sessionEnded(link.mux)
        elif self._retired is not None and not self.links:
            self._retired()
        elif self._likeTCP and link.failure is not None and link.failure.check(ConnectionRefusedError):
            self._failWaiting(link.failure)
        elif self._waiting and not any(slot.trying for slot in self._slots):
            self._dialForWaiting(link)

    def _dialForWaiting(self, ended: Link) -> None:
        """Dial for those who wait: at once, but not again and again where sessions end as soon as they are dialled."""
        if self._clock.seconds() - ended.dialledAt >= PAUSE_FIRST:
            self._dialAll()
            return
        reason = ended.failure or ended.mux.failure
        if reason is not None:
            self._trouble = f"a session to it ended at once: {type(reason.value).__name__}: {reason.getErrorMessage()}"
        for slot in self._slots:
            slot.dialLater()


IN_DOUBT = "is a server there, with the same key and cipher, and does a firewall let its UDP through?"
