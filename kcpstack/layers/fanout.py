"""The fan-out: one UDP port, many peers.  The first branch point of the stack.

Sits between crypt and FEC on a server.  Opened datagrams go to the session of the address they
came from; a datagram that begins a conversation makes a new one:

- an address not seen before opens a session with a push near the start of a conversation.  (Go's
  server takes any packet.  A session made from the middle of a conversation, say after a restart of the
  server, could never deliver a byte, but would acknowledge what it cannot use.)
- a known address that shows another conv with sn 0 has started over: its old session ends;
- an unknown address with a known conv, and with news for it, is a peer that has moved (a NAT that
  rebinds, Wi-Fi to mobile): its session goes on there.

Of each run from a known address the first datagram is looked at, no others: that a peer starts over
is seen at its next run, since it repeats what is not acknowledged.  From an unknown address it may be any: what
shows who has moved there can come behind acks and window probes.

Source: docs/wire.rst, "KCP".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Optional, Protocol, TypeVar

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from kcpstack.addresses import shown
from kcpstack.batch import Batch, PeerAddress
from kcpstack.counters import Counters
from kcpstack.kernels.segment import PUSH, Glimpse

__all__ = ["Fanout", "Member"]

# What tells of a datagram (buffer, start, end): a glimpse of its first segment, or None.
Peek = Callable[[bytearray, int, int], Optional[Glimpse]]

_log = Logger()


class Member(Protocol):
    """One conversation.  The fan-out changes ``address`` when the peer moves."""

    conv: int
    address: PeerAddress

    def datagramsReceived(self, batch: Batch) -> None:
        """Datagrams of this peer.  The batch is the fan-out's again on return."""

    def hasMoved(self) -> None:
        """``address`` is another: what was on its way to the old one is lost."""

    def connectionLost(self, reason: Failure) -> None:
        """The conversation is over: the peer has begun another."""

    def isNews(self, buffer: bytearray, start: int, end: int) -> bool:
        """Whether a datagram proves that its sender takes part now."""


M = TypeVar("M", bound=Member)


class Fanout(Generic[M]):
    """Hands batches to members, one for each address.

    ``accept(address, conv)`` makes a member for a new conversation, or returns None where there is to be none.
    ``peek`` looks into a datagram.  ``log`` has ``info``, as a Logger: strangers can cause lines, so somebody should
    bound them."""

    def __init__(
        self, accept: Callable[[PeerAddress, int], M | None], peek: Peek, counters: Counters, log: Any = _log
    ) -> None:
        self._accept = accept
        self._peek = peek
        self._counters = counters
        self._log = log
        self._members: dict[PeerAddress, M] = {}
        self._byConv: dict[int, M] = {}  # all of them; an address can be lost to another

    def __len__(self) -> int:
        return len(self._byConv)

    def members(self) -> list[M]:
        """The members of now, in the order they came."""
        return list(self._byConv.values())

    def forget(self, member: M) -> None:
        """``member`` is over.  Its address may open a new conversation."""
        if self._members.get(member.address) is member:
            del self._members[member.address]
        if self._byConv.get(member.conv) is member:
            del self._byConv[member.conv]

    def datagramsReceived(self, batch: Batch) -> None:
        """Opened datagrams, with ``batch.addresses`` filled in."""
        addresses = batch.addresses
        if not addresses:
            return
        first = addresses[0]
        if addresses.count(first) == len(addresses):
            self._deliver(first, batch)
            return
        runs: dict[PeerAddress, Batch] = {}
        for address, start, end in zip(addresses, batch.starts, batch.ends):
            run = runs.get(address)
            if run is None:
                run = runs[address] = Batch()
                run.buffer = batch.buffer
            run.starts.append(start)
            run.ends.append(end)
        for address, run in runs.items():
            self._deliver(address, run)

    def _deliver(self, address: PeerAddress, batch: Batch) -> None:
        resident = self._members.get(address)
        for start, end in zip(batch.starts, batch.ends):
            member = self._memberFor(address, resident, batch.buffer, start, end)
            if member is not None:
                member.datagramsReceived(batch)
                return
            if resident is not None:
                break
        self._counters.InErrs += len(batch)

    def _memberFor(self, address: PeerAddress, resident: M | None, buffer: bytearray, start: int, end: int) -> M | None:
        """Whose a datagram from ``address`` is, where ``resident`` (who may be None) was; None: nobody's."""
        seen = self._peek(buffer, start, end)
        if seen is None or (resident is not None and seen.conv == resident.conv):
            return resident
        known = self._byConv.get(seen.conv)
        if known is not None:
            return self._moved(known, address) if known.isNews(buffer, start, end) else None
        if resident is None or (seen.cmd == PUSH and seen.sn == 0):
            return self._begun(address, seen, resident)
        return resident

    def _begun(self, address: PeerAddress, seen: Glimpse, resident: M | None) -> M | None:
        """A new member, where ``seen`` begins a conversation (its sender has received nothing yet);
        else the ``resident`` of that address, who may be None."""
        if seen.cmd != PUSH or seen.una or seen.sn >= FIRST_SN_MAX or len(self._byConv) >= MEMBERS_MAX:
            return resident
        if resident is not None:
            self._log.info("{address} has started over: its session {conv:08x} ends", address=shown(address), conv=resident.conv)
            resident.connectionLost(Failure(ConnectionDone("the peer has started over")))
            self.forget(resident)
        member = self._accept(address, seen.conv)
        if member is not None:
            self._members[address] = self._byConv[seen.conv] = member
        return member

    def _moved(self, member: M, address: PeerAddress) -> M:
        """``member``, who has moved to this address.  Whoever was there before has lost it (its NAT gave it
        away), but not its conversation."""
        self._log.info(
            "Session {conv:08x} has moved from {old} to {new}", conv=member.conv, old=shown(member.address), new=shown(address)
        )
        if self._members.get(member.address) is member:
            del self._members[member.address]
        member.address = address
        self._members[address] = member
        member.hasMoved()
        return member


FIRST_SN_MAX = 1024  # segments; more than any sender has out before its first ack (it knows of a window of 32)
MEMBERS_MAX = 20_000  # sessions; at some 27 KB each when idle, what a small server can bear
