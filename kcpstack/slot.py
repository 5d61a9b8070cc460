"""One of a client's sessions (--conn): kept ready, and replaced when it ends, falls silent or expires."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from kcpstack.interfaces import IDatagramTransport
from kcpstack.link import CONNECT_TIMEOUT, Link
from kcpstack.options import Address, ClientSettings
from kcpstack.stack import Port, Surroundings

if TYPE_CHECKING:
    from kcpstack.client import Client

__all__ = ["PAUSE_FIRST", "Dialling", "Slot"]

# Makes the datagram transport towards (numeric host, port).
NewTransport = Callable[["tuple[str, int]"], IDatagramTransport]


class Dialling:
    """Where to dial, and with what: one for all slots of a client.

    ``newTransport`` makes a socket for each session, and ``resolveName`` finds an address of a host:
    it returns a Deferred of a numeric host.  ``refusalPatience`` is each link's (kcpstack/link.py)."""

    def __init__(
        self,
        settings: ClientSettings,
        around: Surroundings,
        newTransport: NewTransport,
        resolveName: Callable[[str], defer.Deferred[str]],
        refusalPatience: float = CONNECT_TIMEOUT,
    ) -> None:
        self.settings = settings
        self.around = around
        self._newTransport = newTransport
        self._resolveName = resolveName
        self._refusalPatience = refusalPatience
        self._shunned: dict[int, None] = {}  # ports that did not answer, the latest last

    def reconfigure(self, settings: ClientSettings) -> None:
        """Dial with these settings from now on."""
        self.settings = settings
        self._shunned.clear()

    @property
    def address(self) -> Address:
        """The server's."""
        return self.settings.remoteaddr

    def dial(self, owner: Slot) -> defer.Deferred[Link]:
        """A new link for ``owner``, which lives for ``owner.life`` seconds, once the name is resolved.  It tries a port
        of the server's range at random, but none that has not answered of late, while there are others."""
        name = self.address.host
        resolved = defer.maybeDeferred(self._resolveName, name)
        return resolved.addCallback(self._open, name, owner)

    def _open(self, host: str, name: str, owner: Slot) -> Link | defer.Deferred[Link]:
        if name != self.address.host:  # reconfigured meanwhile
            return self.dial(owner)
        peer = (host, self._pickPort())
        port = Port(self._newTransport(peer), self.settings, self.around)
        port.open()
        try:
            return Link(port, peer, self.settings, self.around, owner, owner.life, self._refusalPatience)
        except Exception:  # a layer from outside cannot be built
            port.transport.stopListening()
            raise

    def shun(self, port: int) -> None:
        """``port`` does not answer."""
        self._shunned.pop(port, None)
        self._shunned[port] = None

    def answered(self, port: int) -> None:
        """``port`` does."""
        self._shunned.pop(port, None)

    def random(self, below: int) -> int:
        """A random number from 0 to ``below`` - 1; of 32 bits, so that a range of ports is even enough."""
        return int.from_bytes(self.around.randomBytes(4), "little") % below

    def _pickPort(self) -> int:
        ports = self.address.ports
        if len(ports) == 1:
            return ports[0]
        candidates = [port for port in ports if port not in self._shunned]
        if not candidates:
            latest = next(reversed(self._shunned))
            self._shunned = {latest: None}
            candidates = [port for port in ports if port != latest]
        return candidates[self.random(len(candidates))]


class Slot:
    """One session, as ``client`` sees it: ``links`` are what there is of it, the oldest first, with those
    that are only kept for their streams.

    When the server is silent although something waits for its ack, or leaves, or the session expires
    (--autoexpire), a new one is dialled on a socket of its own; once it has answered, the older ones
    are retired.  When a session ends for which there is no other, the next is dialled after a pause that
    grows while nothing answers.  All that only while ``client.keepsReady``.

    ``client`` is told: ``slotChanged()`` when a link may have become usable, ``dialFailed(reason)``,
    and ``linkEnded(link)``."""

    def __init__(self, client: Client, dialling: Dialling, firstLife: float | None) -> None:
        """``firstLife`` is when the first session expires, in seconds."""
        self.links: list[Link] = []
        self.doubtful = False  # has the last thing heard of the server been that it is not there?
        self._client = client
        self._dialling = dialling
        self._clock = dialling.around.clock
        self.life = firstLife  # of the next session
        self._call: defer.Deferred[Link] | None = None  # the name is being resolved
        self._pause = PAUSE_FIRST
        self._retired = False
        self._outdated = False  # have the settings changed since the newest session that was answered?
        self._redial: IDelayedCall | None = None
        self._expiry: IDelayedCall | None = None

    @property
    def healthy(self) -> Link | None:
        """The newest link that takes streams, has been answered and is not silent."""
        return self._newest(lambda link: link.answered and not link.silent)

    @property
    def hopeful(self) -> Link | None:
        """A link that is so young that nobody can know whether the server answers."""
        now = self._clock.seconds()
        return None if self.doubtful else self._newest(lambda link: not link.answered and now - link.dialledAt < HOPE)

    @property
    def _keepsReady(self) -> bool:
        return self._client.keepsReady and not self._retired

    @property
    def trying(self) -> bool:
        """Whether a session is being dialled, or may still be answered."""
        return self._call is not None or self._newest(lambda link: not link.answered) is not None

    def dial(self) -> None:
        """Dial a new session now, unless that is under way."""
        if not self.trying:
            self._dialNow()

    def renew(self, life: float | None) -> None:
        """Dial a new session in any case: the settings have changed.  It expires after ``life`` seconds.  The
        older ones retire when it has been answered."""
        self.life = life
        self._outdated = True
        if self._call is None:
            self._dialNow()

    def _dialNow(self) -> None:
        self._cancel("_redial")
        self._call = self._dialling.dial(self)
        self._call.addCallbacks(self._opened, self._failed)

    def stop(self) -> None:
        """Dial no more, unless asked.  The links stay."""
        self._cancel("_redial")
        self._cancel("_expiry")
        if self._call is not None:
            self._call.cancel()

    def retire(self) -> None:
        """Dial no more, and keep the links only for the streams that they have."""
        self._retired = True
        self.stop()
        for link in list(self.links):
            link.retire()

    def _newest(self, fits: Callable[[Link], bool]) -> Link | None:
        return next((link for link in reversed(self.links) if link.mux.connected and fits(link)), None)

    def _opened(self, link: Link) -> None:
        self._call = None
        self.links.append(link)
        self.life = self._dialling.settings.autoexpire or None
        self._client.slotChanged()

    def _failed(self, reason: Failure) -> None:
        self._call = None
        if self._keepsReady:
            self.dialLater()
        if not reason.check(defer.CancelledError):
            why = reason.getErrorMessage()  # said once in a while: each connection dials
            peer, findings = self._dialling.address, self._dialling.around.findings
            findings.warn(("dial", peer, why), "No session to {peer}: {why}", peer=peer, why=why)
        self._client.dialFailed(reason)

    def dialLater(self) -> None:
        """Dial a new session after a pause, unless that is under way."""
        if self._redial is None and not self.trying:
            spread = 0.5 + self._dialling.random(1024) / 2048
            self._redial = self._clock.callLater(self._pause * spread, self._dialAgain)
            self._pause = min(self._pause * 2, PAUSE_MAX)

    def _dialAgain(self) -> None:
        self._redial = None
        self.dial()

    def _cancel(self, name: str) -> None:
        call = getattr(self, name)
        if call is not None:
            call.cancel()
            setattr(self, name, None)

    def _expired(self) -> None:
        self._expiry = None
        if self._keepsReady:
            self.dial()

    # ------------------------------------------------------------ for the links

    def linkAnswered(self, link: Link) -> None:
        """The server has been heard on ``link``: sessions from before it are only kept for the
        streams they have."""
        self.doubtful = False
        self._pause = PAUSE_FIRST
        self._dialling.answered(link.port)
        self._cancel("_redial")
        if not link.mux.connected:  # a newer one was answered before it
            return
        self._outdated = self._outdated and link is not self.links[-1]
        self._cancel("_expiry")
        if link.expiresAt is not None:
            self._expiry = self._clock.callLater(max(0.0, link.expiresAt - self._clock.seconds()), self._expired)
        for older in self.links[: self.links.index(link)]:
            older.retire()
        self._client.slotChanged()

    def linkSilent(self, link: Link) -> None:
        """Nothing comes on ``link`` any more, or only what does not fit."""
        self._dialling.shun(link.port)
        self._replace(link)

    def linkLeft(self, link: Link) -> None:
        """The server takes no more streams on ``link``."""
        self._replace(link)

    def _replace(self, link: Link) -> None:
        if link is self.links[-1]:
            self.doubtful = True
            if self._keepsReady:
                self.dial()

    def linkHeard(self, link: Link) -> None:
        """``link`` was silent, and is not any more."""
        self._dialling.answered(link.port)
        self._client.slotChanged()

    def linkEnded(self, link: Link) -> None:
        """``link`` is over, and its socket closed."""
        self.links.remove(link)
        if link.failure is not None:
            self.doubtful = True
            self._dialling.shun(link.port)
        healthy = self.healthy
        if healthy is None:
            self._cancel("_expiry")
        if self._keepsReady and (healthy is None or healthy.expired or self._outdated):
            self.dialLater()
        self._client.linkEnded(link)


PAUSE_FIRST = 1.0  # s before a session is dialled again; up to half of it less, so that slots spread
PAUSE_MAX = 30.0  # s; when a server comes back after hours, its clients are there within half a minute
HOPE = 1.0  # s; most servers have answered by then
