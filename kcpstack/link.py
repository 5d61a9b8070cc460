"""One session to the server, from its socket up to its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectError, ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.batch import Batch
from kcpstack.closing import FAREWELL, endNow
from kcpstack.errors import PeerRestarted
from kcpstack.interfaces import IStreamTransport
from kcpstack.kernels.pathcheck import PathFault, Verdict
from kcpstack.layers.kcp import KCPSession
from kcpstack.options import Address, ClientSettings
from kcpstack.stack import Conversation, Port, Surroundings, buildMux, padded

if TYPE_CHECKING:
    from kcpstack.slot import Slot

__all__ = ["CONNECT_TIMEOUT", "REFUSAL_PATIENCE", "Link"]

CONNECT_TIMEOUT = 10  # s; three times the longest a KCP peer needs for a first answer over a bad path
# s; a refusal can be forged, but not keep a server that is there from answering: some round trips, and resends.
REFUSAL_PATIENCE = 2.0


class Link:
    """One session to the server, from its socket up to its ``mux``.

    The server has CONNECT_TIMEOUT seconds to answer for the first time, and ``refusalPatience`` from when the
    network says that nobody listens there.  Then, or when smux finds it silent, the session ends, its
    streams with it, and the socket closes; ``failure`` is why, once it is known.

    ``owner`` is told of what happens, each time with this link: ``linkAnswered``, ``linkSilent``,
    ``linkHeard`` (after a silence), ``linkLeft`` (the server takes no more streams on it) and
    ``linkEnded``.  Raises what layers from outside raise as they are built and begin, and leaves the socket to whoever
    opened it then.  ``peer`` is the address that the socket sends to; ``life`` is in seconds, None for
    no end."""

    def __init__(
        self,
        port: Port,
        peer: tuple[str, int],
        settings: ClientSettings,
        around: Surroundings,
        owner: Slot,
        life: float | None = None,
        refusalPatience: float = CONNECT_TIMEOUT,
    ) -> None:
        self.dialledAt = around.clock.seconds()
        self.expiresAt = None if life is None else self.dialledAt + life
        self.port = peer[1]
        self.failure: Failure | None = None
        self._port = port
        self._peer = Address(settings.remoteaddr.host, peer[1])
        self._owner = owner
        self._around = around
        self._settings = settings
        self._scavenges = settings.scavengettl >= 0
        self._scavenging: IDelayedCall | None = None
        self._refused = False
        self._refusalPatience = refusalPatience
        self.conversation = Conversation(port, around.newConversation(), None, False, self._over, peer)
        self.conversation.session.watch(self._silent)
        self.conversation.pathFaulty = self._pathFaulty
        port.received = self._firstReceived
        port.refused = self._nobodyListens
        self.mux = buildMux(self.conversation, settings, around)
        self._timeout = around.clock.callLater(CONNECT_TIMEOUT, self._timedOut)  # behind all that may raise
        self.mux.keepLedger(self.conversation.arq)
        self.mux.watch(self._serverLeaves)
        _log.info("Session {conv:08x} to {peer}", conv=self.conversation.conv, peer=self._peer)

    @property
    def answered(self) -> bool:
        """Whether the server has been heard on it."""
        return self.conversation.session.established

    @property
    def silent(self) -> bool:
        """Whether the server leaves us waiting."""
        return self.conversation.session.silent

    @property
    def expired(self) -> bool:
        """Whether its life is over."""
        return self.expiresAt is not None and self._around.clock.seconds() >= self.expiresAt

    def openStream(self, protocol: IProtocol) -> IStreamTransport:
        """Open a stream for ``protocol``.  Raises ConnectionLost where the session takes none."""
        return self.mux.openStream(padded(protocol, self._settings))

    def retire(self) -> None:
        """The server answers on a newer session.  Keep this one for the streams that it has.  Where it is
        still silent after GIVE_UP seconds, the server has forgotten it, and they should know.  Where it
        has expired, they are cut when --scavengettl has passed as well."""
        self.mux.retire()
        if self.silent and not self._timeout.active():
            self._timeout = self._around.clock.callLater(GIVE_UP, self._giveUp)
        if self.expiresAt is not None and self._scavenges and self._scavenging is None:
            left = max(0.0, self.expiresAt - self._around.clock.seconds())
            self._scavenging = self._around.clock.callLater(left + self._settings.scavengettl, self._scavenge)

    def spare(self) -> None:
        """Leave the streams alone, whatever --scavengettl says: somebody else sees to their end."""
        self._scavenges = False

    def close(self) -> None:
        """End the session at once, with its streams; the server is told if one flush can do it."""
        endNow(self.mux, self.conversation.session, self._port.schedule)

    def _scavenge(self) -> None:
        if not self._scavenges:
            return
        if self.mux.streamCount:
            _log.warn(
                "Session {conv:08x} expired and was replaced; {streams} of its streams had not ended {ttl} s after "
                "that (--scavengettl) and were cut",
                conv=self.conversation.conv,
                streams=self.mux.streamCount,
                ttl=self._settings.scavengettl,
            )
        self.mux.cut()
        self._scavenging = self._around.clock.callLater(FAREWELL, self.close)  # a closed window lets nothing out

    def _giveUp(self) -> None:
        if self.silent:
            reason = f"{self._peer} answers a new session, but not this one any more"
            _log.warn("Session {conv:08x} failed: {why}", conv=self.conversation.conv, why=reason)
            self.conversation.connectionLost(Failure(PeerRestarted(reason)))

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
                ms=(self._around.clock.seconds() - self.dialledAt) * 1000,
            )
            self._owner.linkAnswered(self)

    def _silent(self, session: KCPSession) -> None:
        if session.established:  # else it is _timedOut that knows what to say
            if self.mux.connected:  # else there is another already
                _log.warn(
                    "Session {conv:08x}: {peer} leaves us waiting; dialling a new session",
                    conv=self.conversation.conv,
                    peer=self._peer,
                )
            if not session.spoken:
                self._around.findings.warn(("never spoken", self._peer.host), NEVER_SPOKEN, peer=self._peer)
            self._port.received = self._receivedInSilence
            self._owner.linkSilent(self)

    def _pathFaulty(self, fault: PathFault) -> None:
        if fault.verdict is not Verdict.TOO_LARGE:  # another port may have a path that works both ways
            self._owner.linkSilent(self)

    def _receivedInSilence(self, batch: Batch) -> None:
        self.conversation.datagramsReceived(batch)
        if not self.silent:
            self._port.received = self.conversation.datagramsReceived
            if self.mux.connected:
                self._owner.linkHeard(self)

    def _serverLeaves(self) -> None:
        _log.info(
            "Session {conv:08x}: {peer} is closing, and takes no more streams on it",
            conv=self.conversation.conv,
            peer=self._peer,
        )
        self._owner.linkLeft(self)

    def _nobodyListens(self) -> None:
        """ICMP says so.  It may be forged, or the server about to start: go on trying."""
        if not self._refused and not self.conversation.session.established:
            self._refused = True
            _log.warn(
                "{peer} refuses UDP: no server listens there (is it started, and on this port?)", peer=self._peer
            )
            left = self.dialledAt + CONNECT_TIMEOUT - self._around.clock.seconds()
            self._timeout.reset(max(0.0, min(left, self._refusalPatience)))

    def _timedOut(self) -> None:
        kind: type[ConnectError] = ConnectionRefusedError if self._refused else TimeoutError
        why = f"no server listens at {self._peer}"
        if not self._refused:
            why = (
                f"no answer from {self._peer} in {CONNECT_TIMEOUT} s: is a server there, with the same --key and "
                "--crypt, and does a firewall let its UDP through?"
            )
        _log.error("Session {conv:08x} failed: {why}", conv=self.conversation.conv, why=why)
        self.failure = Failure(kind(string=why))
        self.conversation.connectionLost(self.failure)

    def _over(self, conversation: Conversation) -> None:
        for timer in (self._timeout, self._scavenging):
            if timer is not None and timer.active():
                timer.cancel()
        self._port.transport.stopListening()
        _log.info("Session {conv:08x} to {peer} is over", conv=conversation.conv, peer=self._peer)
        self._owner.linkEnded(self)


NEVER_SPOKEN = (
    "{peer} acknowledges, but has never said a word: are --smuxver and --nocomp the same there?  (Debian's kcptun "
    "has smuxver 1 unless told otherwise)"
)
GIVE_UP = 5.0  # s; a path that was only cut for a moment is back by then

_log = Logger()
