"""A bad link between two real processes: a UDP proxy that loses, delays and damages.

::

    python -m kcpstack.testing.badlink --to 127.0.0.1:29900 --loss 5 --reorder 5 --delay 20 --seed 1

prints the port it listens on as the first line of its output, and carries datagrams between whoever
sends to that port and the target.  On the command line chances are percentages; times are
milliseconds, rates bytes a second.  ``--loss 5`` holds in both directions, ``--loss-back 1`` only
from the target to the clients.

With ``--control`` it also reads commands from its standard input, answers each with one line of
JSON, and ends when the input does (so that it cannot outlive the test that started it)::

    loss=10 corrupt=1 delay-back=50     change some faults, from the next datagram on
    rebind                              go on from other source ports, like a NAT that forgot us
    tally                               what was done so far

It needs no root and no network namespace.  What chance does to datagram ``n`` of a direction
depends on the seed and ``n`` alone (see :mod:`kcpstack.testing.impairment`); timing is the real one,
so which datagram is the ``n``-th may differ from run to run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from twisted.internet import defer, stdio
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.batch import PeerAddress
from kcpstack.testing.impairment import FRACTIONS, PERFECT, Faults, Impairment, InFlight

__all__ = ["BadLink", "Control", "changesFrom", "main"]

FORWARD, BACK = "forward", "back"  # from the clients to the target; from the target to the clients


class BadLink:
    """A UDP proxy in front of ``target``, a (host, port) with a numeric host, on ``reactor``.

    Every client address gets an upstream socket of its own, so the target tells clients apart.
    All share one path in each direction: ``forward`` and ``back`` are its Impairments, to be configured
    at any time.  Datagrams are taken and passed on as fast as the kernel gives them; what the kernel itself
    drops from full socket buffers is not seen here."""

    def __init__(
        self,
        reactor: Any,
        target: tuple[str, int],
        seed: object = 0,
        faults: Faults = PERFECT,
        listen: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self.forward = Impairment(seed, FORWARD, faults)
        self.back = Impairment(seed, BACK, faults)
        self.unsent = 0  # datagrams the kernel would not take, or whose way is gone
        self._reactor = reactor
        self._target = target
        self._listen = listen
        self._origin = reactor.seconds()  # of our milliseconds, so that jitter is the same in each run
        self._downstream: _DatagramSocket | None = None
        self._clients: OrderedDict[PeerAddress, _Client] = OrderedDict()  # the least recently heard first
        self._inFlight = InFlight()
        self._timer: IDelayedCall | None = None
        self._timerDue = 0.0

    def startListening(self) -> None:
        """Open the port.  Raises CannotListenError."""
        try:
            sock = _udpSocket(self._listen[0])
            sock.bind(self._listen)
        except OSError as error:
            raise CannotListenError(*self._listen, error) from None
        self._downstream = _DatagramSocket(self._reactor, sock, self._fromClients)

    def getHost(self) -> IPv4Address | IPv6Address:
        """Where clients send to."""
        assert self._downstream is not None, "not listening"
        name = self._downstream.socket.getsockname()
        return (IPv4Address if len(name) == 2 else IPv6Address)("UDP", *name)

    def stopListening(self) -> defer.Deferred[None]:
        """Close all sockets at once and forget what is under way."""
        if self._downstream is not None:
            self._downstream.close()
            self._downstream = None
        for client in self._clients.values():
            client.upstream.close()
        self._clients.clear()
        self._inFlight = InFlight()
        self._arm()
        return defer.succeed(None)

    def configure(self, **changes: Any) -> None:
        """Change some faults in both directions, from the next datagram on."""
        self.forward.configure(**changes)
        self.back.configure(**changes)

    def rebind(self) -> None:
        """Give every client a new source port towards the target, and close the old one: what the
        target still sends there is lost."""
        for client in self._clients.values():
            client.upstream.close()
            client.upstream = self._openUpstream(client)

    def tallies(self) -> dict[str, Any]:
        """What was done so far."""
        return {FORWARD: self.forward.tally.asDict(), BACK: self.back.tally.asDict(), "unsent": self.unsent}

    # ------------------------------------------------------------ datagrams

    def _fromClients(self, arrivals: list[tuple[bytes, PeerAddress]]) -> None:
        now = self._now()
        for datagram, address in arrivals:
            client = self._clients.get(address)
            if client is None:
                client = self._newClient(address)
            else:
                self._clients.move_to_end(address)
            for due, arrived in self.forward.offer(datagram, now):
                self._inFlight.add(due, (client.sendUp, arrived))
        self._release()

    def _fromTarget(self, client: _Client, arrivals: list[tuple[bytes, PeerAddress]]) -> None:
        now = self._now()
        for datagram, _ in arrivals:
            for due, arrived in self.back.offer(datagram, now):
                self._inFlight.add(due, (client.sendDown, arrived))
        self._release()

    def _newClient(self, address: PeerAddress) -> _Client:
        assert self._downstream is not None
        if len(self._clients) >= CLIENTS_MAX:
            _, oldest = self._clients.popitem(last=False)
            oldest.upstream.close()
        client = self._clients[address] = _Client(address, self._downstream)
        client.upstream = self._openUpstream(client)
        return client

    def _openUpstream(self, client: _Client) -> _DatagramSocket:
        sock = _udpSocket(self._target[0])
        sock.connect(self._target)
        return _DatagramSocket(self._reactor, sock, lambda arrivals: self._fromTarget(client, arrivals))

    def _release(self) -> None:
        """Pass on what is due."""
        due = self._inFlight.take(self._now() + RELEASE_SLACK, RELEASES_PER_TURN)
        for send, datagram in due:
            if not send(datagram):
                self.unsent += 1
        self._arm()

    def _arm(self) -> None:
        due = self._inFlight.nextDue
        if self._timer is not None:
            if due is not None and self._timerDue <= due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timerDue = due
            self._timer = self._reactor.callLater(max(0.0, due - self._now()) / 1000, self._timerFired)

    def _timerFired(self) -> None:
        self._timer = None
        self._release()

    def _now(self) -> float:
        return float(self._reactor.seconds() - self._origin) * 1000


class _Client:
    """One client address, and the socket that speaks for it to the target."""

    upstream: _DatagramSocket

    def __init__(self, address: PeerAddress, downstream: _DatagramSocket) -> None:
        self._address = address
        self._downstream = downstream

    def sendUp(self, datagram: bytes) -> bool:
        return self.upstream.send(datagram)

    def sendDown(self, datagram: bytes) -> bool:
        return self._downstream.send(datagram, self._address)


@implementer(IReadDescriptor)
class _DatagramSocket:
    """A UDP socket that is read up to a bound at each turn of the reactor."""

    def __init__(
        self, reactor: Any, sock: socket.socket, received: Callable[[list[tuple[bytes, PeerAddress]]], None]
    ) -> None:
        self.socket = sock
        self._reactor = reactor
        self._received = received
        reactor.addReader(self)

    def send(self, datagram: bytes, address: PeerAddress | None = None) -> bool:
        """False where the kernel did not take it, or nobody listens at the other end."""
        try:
            if address is None:
                self.socket.send(datagram)
            else:
                self.socket.sendto(datagram, address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._reactor.removeReader(self)
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def logPrefix(self) -> str:
        return "badlink"

    def doRead(self) -> None:
        arrivals = []
        receive = self.socket.recvfrom
        try:
            for _ in range(READS_PER_TURN):
                arrivals.append(receive(LONGEST_DATAGRAM))
        except OSError:  # nothing more; or a refusal by the target, which may come back
            pass
        if arrivals:
            self._received(arrivals)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops; or it takes a refusal by the target that waits in the socket for the end of
        a connection (see UDPTransport.connectionLost), and then the socket stays."""
        if not reason.check(ConnectionDone):
            self.close()
        elif self.socket.fileno() != -1:
            self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._reactor.addReader(self)


def _udpSocket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    return sock


# ------------------------------------------------------------ the command


def changesFrom(settings: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Turn ``{"loss": "5", "delay-back": "20"}`` into fields of Faults, forward and back.

    Raises ValueError for a name that is not a fault or a value that is not a number."""
    both: dict[str, Any] = {}
    back: dict[str, Any] = {}
    for name, text in settings.items():
        plain, isBack = (name[: -len("-back")], True) if name.endswith("-back") else (name, False)
        if plain not in FAULT_NAMES:
            raise ValueError(f"no such fault: {name}")
        value: Any = float(text)
        if plain in FRACTIONS:
            value /= 100
        elif plain in ("mtu", "cut"):
            value = int(value)
        (back if isBack else both)[plain] = value
    return both, {**both, **back}


class Control(LineReceiver):
    """The commands of ``--control`` (see the module); ``ended`` is called when the input ends."""

    delimiter = b"\n"

    def __init__(self, link: BadLink, ended: Callable[[], None]) -> None:
        self._link = link
        self._ended = ended

    def lineReceived(self, line: bytes) -> None:
        try:
            answer = self._obey(line.decode("utf-8", "replace").split())
        except (TypeError, ValueError) as error:
            answer = {"error": str(error)}
        self.sendLine(json.dumps(answer).encode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended()

    def _obey(self, words: list[str]) -> dict[str, Any]:
        if words == ["rebind"]:
            self._link.rebind()
        elif words == ["tally"]:
            return self._link.tallies()
        else:
            pairs = (word.partition("=") for word in words)
            forward, back = changesFrom({name: value for name, _, value in pairs})
            self._link.forward.configure(**forward)
            self._link.back.configure(**back)
        return {}


def main(arguments: list[str] | None = None) -> None:
    """Run a bad link until it is told to end."""
    options = _parser().parse_args(arguments)
    given = {name.replace("_", "-"): value for name, value in vars(options).items() if value is not None}
    try:
        forward, back = changesFrom({name: given[name] for name in given if name not in COMMAND_OPTIONS})
        faults, faultsBack = Faults(**forward), Faults(**back)
        target, listen = _hostAndPort(options.to), _hostAndPort(options.listen)
    except ValueError as error:
        sys.exit(f"badlink: {error}")

    from twisted.internet import reactor

    link = BadLink(reactor, target, options.seed, faults, listen)
    link.back.faults = faultsBack
    link.startListening()

    def end() -> None:
        if reactor.running:
            reactor.stop()

    print(link.getHost().port, flush=True)
    if options.control:
        stdio.StandardIO(Control(link, end))
    reactor.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kcpstack.testing.badlink", description="A seeded bad link: a UDP proxy with faults."
    )
    parser.add_argument("--to", required=True, metavar="HOST:PORT", help="where datagrams go")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="default %(default)s")
    parser.add_argument("--seed", default="0", help="of every random decision; default %(default)s")
    parser.add_argument("--control", action="store_true", help="read commands from standard input")
    for name in FAULT_NAMES:
        parser.add_argument(f"--{name}", metavar=_unit(name), help=f"default {getattr(PERFECT, name):g}")
        parser.add_argument(f"--{name}-back", metavar=_unit(name), help="the same, from the target only")
    return parser


def _unit(name: str) -> str:
    if name in FRACTIONS:
        return "PERCENT"
    return {"rate": "BYTES/S", "mtu": "BYTES", "burst": "DATAGRAMS", "cut": "0|1"}.get(name, "MS")


def _hostAndPort(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"{text!r} is not host:port")
    return host.strip("[]") or "127.0.0.1", int(port)


FAULT_NAMES = tuple(field.name for field in dataclasses.fields(Faults))
COMMAND_OPTIONS = ("to", "listen", "seed", "control")

CLIENTS_MAX = 1024  # file descriptors; the longest silent one goes first
READS_PER_TURN = 256  # datagrams from one socket before others get their turn
RELEASES_PER_TURN = 1024  # datagrams; above what one turn takes in, so that no queue grows by itself
RELEASE_SLACK = 0.5  # ms; half of the reactor's timer resolution
LONGEST_DATAGRAM = 65_536  # bytes
SOCKET_BUFFER = 4 * 1024 * 1024  # bytes; the kernel gives what it allows

if __name__ == "__main__":
    main()
