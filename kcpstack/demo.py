"""The main job, shown: a client, a server, a bad path between them, and data moving both ways.

``python -m kcpstack.demo`` (or ``make demo``) runs all of it in one process, on loopback, with real TCP
and UDP sockets and without root::

    application -> client -> bad link -> server -> target
                TCP       UDP         UDP       TCP

Several streams upload and several download at the same time until the time or the amount is used
up; then each ends with the sha256 of what it carried, which its receiver compares with its own.  The
exit status is 0 only if every byte arrived.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TextIO

from twisted.internet import defer, task
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IAddress, IPullProducer, ITransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from kcpstack.options import Address, ClientSettings, ServerSettings
from kcpstack.service import ClientService, ServerService
from kcpstack.testing.badlink import BadLink
from kcpstack.testing.impairment import Faults

__all__ = ["Demo", "Flow", "Receiver", "Sender", "main", "report"]

UP, DOWN = "up", "down"


@dataclass
class Flow:
    """One stream's data in one direction: what it may send, and what became of it."""

    direction: str
    seed: int
    allowance: int  # bytes
    sent: int = 0
    received: int = 0
    verified: bool = False
    done: defer.Deferred[None] = field(default_factory=defer.Deferred)

    def finish(self, verified: bool) -> None:
        """All that will ever arrive has arrived."""
        if not self.done.called:
            self.verified = verified
            self.done.callback(None)


@implementer(IPullProducer)
class Sender(Int32StringReceiver):
    """Sends a flow's blocks as fast as the transport asks for them, then an empty string, then the
    sha256 of all blocks; ``expired()`` ends the flow before its allowance is used up."""

    transport: Any  # ITransport and IConsumer

    def __init__(self, flow: Flow, expired: Callable[[], bool], greeting: bytes = b"") -> None:
        self._flow = flow
        self._expired = expired
        self._greeting = greeting
        self._sha = hashlib.sha256()
        self._random = random.Random(flow.seed)

    def connectionMade(self) -> None:
        if self._greeting:
            self.sendString(self._greeting)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        flow = self._flow
        if flow.sent < flow.allowance and not self._expired():
            block = self._random.randbytes(min(BLOCK, flow.allowance - flow.sent))
            self._sha.update(block)
            flow.sent += len(block)
            self.sendString(block)
            return
        self.transport.unregisterProducer()
        self.sendString(b"")
        self.sendString(self._sha.digest())

    def stopProducing(self) -> None:
        """The connection is lost; its receiver knows that something is missing."""


class Receiver(Int32StringReceiver):
    """Takes in what a Sender sends, and finishes the flow; closes the connection then."""

    MAX_LENGTH = 1 << 20

    transport: ITransport

    def __init__(self, flow: Flow, greeting: bytes = b"") -> None:
        self._flow = flow
        self._greeting = greeting
        self._sha = hashlib.sha256()
        self._ending = False

    def connectionMade(self) -> None:
        if self._greeting:
            self.sendString(self._greeting)

    def stringReceived(self, string: bytes) -> None:
        if self._ending:
            self._flow.finish(string == self._sha.digest() and self._flow.received == self._flow.sent)
            self.transport.loseConnection()
        elif string:
            self._sha.update(string)
            self._flow.received += len(string)
        else:
            self._ending = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._flow.finish(False)


class Target(Int32StringReceiver):
    """The embedded target: learns from the first string which flow it is to take or give."""

    MAX_LENGTH = Receiver.MAX_LENGTH

    def __init__(self, flows: list[Flow], expired: Callable[[], bool]) -> None:
        self._flows = flows
        self._expired = expired
        self._actor: Int32StringReceiver | None = None

    def stringReceived(self, string: bytes) -> None:
        if self._actor is not None:
            self._actor.stringReceived(string)
            return
        flow = self._flows[FLOW_NUMBER.unpack(string)[0]]
        self._actor = Receiver(flow) if flow.direction == UP else Sender(flow, self._expired)
        self._actor.makeConnection(self.transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._actor is not None:
            self._actor.connectionLost(reason)


class Demo:
    """The whole scene on ``reactor``."""

    def __init__(self, reactor: Any, options: argparse.Namespace) -> None:
        allowance = int(options.megabytes * 1e6 / options.streams)
        self.options = options
        self.flows = [
            Flow(direction, n, allowance) for n in range(options.streams) for direction in (UP, DOWN)
        ]
        self.elapsed = 0.0
        self._reactor = reactor
        self._began = reactor.seconds()

    def start(self) -> None:
        """Open every port: the target's, the server's, the bad link's, the client's."""
        reactor, options = self._reactor, self.options
        factory = Factory.forProtocol(lambda: Target(self.flows, self.expired))
        factory.noisy = False
        self._targetPort = reactor.listenTCP(0, factory, interface=LOOPBACK)
        target = Address(LOOPBACK, self._targetPort.getHost().port)
        listen = Address(LOOPBACK, 0)
        self.server = ServerService(reactor, ServerSettings(listen=listen, target=target, **TUNING))
        self.server.startService()
        faults = Faults(delay=options.delay, loss=options.loss / 100, reorder=options.reorder / 100)
        serverPort = _portOf(self.server.server.port.transport.getHost())
        self.link = BadLink(reactor, (LOOPBACK, serverPort), options.seed, faults)
        self.link.startListening()
        remote = Address(LOOPBACK, self.link.getHost().port)
        self.client = ClientService(reactor, ClientSettings(localaddr=listen, remoteaddr=remote, **TUNING))
        self.client.startService()

    def stop(self) -> None:
        """Close everything."""
        self.client.stopService()
        self.link.stopListening()
        self.server.stopService()
        self._targetPort.stopListening()

    def expired(self) -> bool:
        """Is the time for sending new data over?"""
        return bool(self._reactor.seconds() - self._began > self.options.seconds)

    def run(self) -> defer.Deferred[None]:
        """Start all flows.  Fires when each has finished, or the patience is at an end."""
        self._began = self._reactor.seconds()
        endpoint = TCP4ClientEndpoint(self._reactor, LOOPBACK, self.client.port.getHost().port)
        for number, flow in enumerate(self.flows):
            greeting = FLOW_NUMBER.pack(number)
            local = Sender(flow, self.expired, greeting) if flow.direction == UP else Receiver(flow, greeting)
            connectProtocol(endpoint, local).addErrback(lambda _, flow=flow: flow.finish(False))
        everything = defer.gatherResults([flow.done for flow in self.flows], consumeErrors=True)
        everything.addTimeout(self.options.seconds + self.options.patience, self._reactor, lambda *_: None)
        return everything.addBoth(self._finished)

    def _finished(self, result: object) -> None:
        self.elapsed = self._reactor.seconds() - self._began

    # ------------------------------------------------------------ what there is to see

    def received(self, direction: str) -> int:
        return sum(flow.received for flow in self.flows if flow.direction == direction)

    def rtt(self) -> float:
        """The client's estimate of the round trip, in ms; 0 before the first."""
        estimates = [link.conversation.arq.srtt for link in self.client.client.links]
        return max((srtt for srtt in estimates if srtt is not None), default=0.0)

    def counted(self, name: str) -> int:
        """A counter of both ends together."""
        return int(getattr(self.client.counters, name) + getattr(self.server.counters, name))

    def progress(self) -> str:
        seconds = max(self._reactor.seconds() - self._began, 0.001)
        moved = "  ".join(
            f"{way} {self.received(way) / 1e6:6.1f} MB {self.received(way) / 1e6 / seconds:5.2f} MB/s"
            for way in (UP, DOWN)
        )
        return (
            f"{seconds:5.1f} s  {moved}  RTT {self.rtt():3.0f} ms  "
            f"sent again {self.counted('RetransSegs')}  rebuilt {self.counted('FECRecovered')}"
        )


def report(demo: Demo, rtt: float) -> str:
    """What it came to, in a few lines."""
    payload = demo.received(UP) + demo.received(DOWN)
    tallies = (demo.link.forward.tally, demo.link.back.tally)
    offered, lost, reordered = (
        sum(getattr(tally, name) for tally in tallies) for name in ("offered", "lost", "reordered")
    )
    whole = sum(flow.verified for flow in demo.flows)
    share = 100 * lost / max(offered, 1)
    goodput = ", ".join(f"{way} {demo.received(way) / 1e6 / demo.elapsed:.2f} MB/s" for way in (UP, DOWN))
    rows = [
        ("goodput", f"{goodput}, at the same time, for {demo.elapsed:.1f} s"),
        ("round trip", f"{rtt:.0f} ms measured, of which the path takes {2 * demo.options.delay:g} ms"),
        ("loss seen", f"{lost:,} of {offered:,} datagrams ({share:.1f} %); {reordered:,} came out of order"),
        ("sent again", f"{demo.counted('RetransSegs'):,} of {demo.counted('OutSegs'):,} segments"),
        ("rebuilt by FEC", f"{demo.counted('FECRecovered'):,} datagrams"),
        ("on the wire", f"{demo.counted('OutBytes') / max(payload, 1):.2f} bytes per payload byte"),
        ("verified", f"{payload:,} bytes; {whole} of {len(demo.flows)} streams arrived whole (sha256)"),
    ]
    return "\n".join(f"  {name:<16}{text}" for name, text in rows)


class ProgressLine:
    """Shows where we are: one line written over on a terminal, a line now and then elsewhere."""

    def __init__(self, output: TextIO, text: Callable[[], str]) -> None:
        self._output = output
        self._text = text
        self._live = output.isatty()
        self._call = task.LoopingCall(self._show)

    def start(self, reactor: Any) -> None:
        self._call.clock = reactor
        self._call.start(LIVE_PERIOD if self._live else LINE_PERIOD, now=self._live)

    def stop(self) -> None:
        self._call.stop()
        self._show()
        if self._live:
            self._output.write("\n")

    def _show(self) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._output.write("\r" + self._text()[:width].ljust(width))
        else:
            self._output.write(self._text() + "\n")
        self._output.flush()


def _portOf(address: IAddress) -> int:
    assert isinstance(address, IPv4Address)  # on LOOPBACK
    return int(address.port)


async def play(reactor: Any, options: argparse.Namespace) -> None:
    """Run the demo.  Raises SystemExit with status 1 where a byte is missing."""
    demo = Demo(reactor, options)
    demo.start()
    print(
        f"A path of {options.delay:g} ms each way that loses {options.loss:g} % and reorders "
        f"{options.reorder:g} % (seed {options.seed});\n{options.streams} streams each way, for "
        f"{options.seconds:g} s or until each way has moved {options.megabytes:g} MB:\n",
        flush=True,
    )
    line = ProgressLine(sys.stdout, demo.progress)
    line.start(reactor)
    await demo.run()
    line.stop()
    print("\n" + report(demo, demo.rtt()), flush=True)
    demo.stop()
    if not all(flow.verified for flow in demo.flows):
        print("\nNot every byte arrived.", flush=True)
        raise SystemExit(1)


def main(arguments: list[str] | None = None) -> None:
    """The command.  Ends in SystemExit."""
    parser = argparse.ArgumentParser(prog="python -m kcpstack.demo", description="A tunnel over a bad path.")
    parser.add_argument("--seconds", type=float, default=20, help="for sending new data; default %(default)s")
    parser.add_argument("--megabytes", type=float, default=80, help="each way at most; default %(default)s")
    parser.add_argument("--streams", type=int, default=2, help="each way; default %(default)s")
    parser.add_argument("--delay", type=float, default=30, help="ms one way; default %(default)s")
    parser.add_argument("--loss", type=float, default=5, help="percent; default %(default)s")
    parser.add_argument("--reorder", type=float, default=5, help="percent; default %(default)s")
    parser.add_argument("--seed", default="1", help="of the path's decisions; default %(default)s")
    parser.add_argument("--patience", type=float, default=60, help="s, for the rest; default %(default)s")
    options = parser.parse_args(arguments)
    task.react(lambda reactor: defer.ensureDeferred(play(reactor, options)))


LOOPBACK = "127.0.0.1"
FLOW_NUMBER = struct.Struct(">I")
BLOCK = 32 * 1024  # bytes a string; small enough for a smooth progress line
LIVE_PERIOD, LINE_PERIOD = 0.2, 3.0  # seconds between updates on a terminal, and elsewhere
TUNING: dict[str, Any] = {"mode": "fast2", "sndwnd": 1024, "rcvwnd": 2048}  # 20 MB/s at 60 ms

if __name__ == "__main__":
    main()
