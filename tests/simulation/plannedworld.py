"""What is drawn for a world in which things happen (eventfulworld.py), and what may be expected of it.

A plan is all facts: settings, ports, when streams are opened, events, and how the ends leave.  A failing seed prints it.
All of it is drawn before any of it is left out (leavingout.py), and what is drawn later depends on the seed and on what
it is for alone; so leaving one thing out changes no other.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any, NamedTuple

from leavingout import leaveOut
from world import CIPHERS, CLIENT_END, OTHER_CIPHERS, SERVER, SERVER_END, SMUXBUF_MIN, STREAM_BYTES, World
from worldapplications import ABORTS, BUSY, ENDS, HANGS_UP, LAST, SLOW, STALLING, Application

from kcpstack.options import Address

__all__ = ["BOTH_ENDS", "Event", "LONG", "PlannedWorld"]

PORTS = range(SERVER[1], SERVER[1] + 4)
EVENTS = ("reconfigureClient", "reconfigureServer", "restart", "restart", "cut", "cut", "narrow", "rebind")
BOTH_ENDS = (CLIENT_END, SERVER_END)
EVENTS_END = 10.0  # s; the last one begins before
LENGTHS = (100, 5_000, 60_000)  # most bytes of a stream, in one direction
LAST_BYTES = 2_000  # in a last stream; the slowest paths carry them before a session expires
HEAVY = 0.1  # of all worlds carry more than their buffers hold, so that whole sessions stop and go on
HEAVY_BYTES = 200_000
TIGHT = {"smuxbuf": SMUXBUF_MIN, "streambuf": SMUXBUF_MIN}
LONG = 3600.0  # s of a drain that nothing cuts
SHORT_CUT = 1.0  # s; no stream may be lost by it


class Event(NamedTuple):
    """Something that happens ``at`` so many seconds: a method of the world, and its arguments."""

    at: float
    name: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.at:.3f} s: {self.name} {self.facts}"


class PlannedWorld(World):
    """A world and its plan; see above."""

    plannedCalls = 40

    def build(self) -> None:
        more = self.more = random.Random(f"events {self.seed}")
        self.drawSessions()
        self.drawPlace()
        self.isStarted = more.random() < 0.7
        self.numbersLeft = random.Random(f"numbers {self.seed}").choice((0, 0, 0, 0, 3, 40))
        self.isRelayed = random.Random(f"relays {self.seed}").random() < 0.4
        self.isRude = more.random() < 0.5  # is there anybody who does not hear out the other?
        self.resolving = more.choice((0.0, 0.0, 0.05, 1.5))
        times = (more.choice((0.0, 0.0, more.uniform(0, 8))) for _ in range(self.wanted))
        self.opens = dict(enumerate(sorted(times)))  # stream: when it is opened
        self.calm: set[int] = set()  # streams of which little is wanted
        self.events = sorted((self.drawEvent() for _ in range(more.choice((0, 1, 1, 2, 3)))), key=lambda each: each.at)
        self.farewells = more.sample([self.drawFarewell(CLIENT_END), self.drawFarewell(SERVER_END)], 2)
        self.drawBottleneck()
        heavy = random.Random(f"heavy {self.seed}").random()
        self.isHeavy = heavy < HEAVY and self.streamBytes == STREAM_BYTES
        self.drawn = self.events, self.opens, self.farewells  # with what is left out next
        leaveOut(self, self.without)
        if self.isHeavy:
            self.clientSettings = replace(self.clientSettings, **TIGHT, smuxver=1)  # 2 has windows for each stream
            self.serverSettings = replace(self.serverSettings, **TIGHT)
        self.network.configure(**self.faults)
        self.takeGuard()
        self.pending = len(self.opens) + len(self.events)
        self.moves = 0
        self.mute: list[str] = []  # ends of which nothing arrives, once for each reason
        self.promised: list[Application] = []  # whose bytes have arrived, as somebody has said
        super().build()

    # ------------------------------------------------------------ drawing

    def drawSessions(self) -> None:
        more = self.more
        self.clientSettings = replace(self.clientSettings, **self.drawExtras(CLIENT_END))
        self.serverSettings = replace(self.serverSettings, **self.drawExtras(SERVER_END))
        expiry = ((0, 600),) * 6 + ((2, -1), (3, 600), (5, 0), (5, 3))
        autoexpire, scavengettl = more.choice(expiry)
        self.clientSettings = replace(
            self.clientSettings,
            conn=more.choice((1, 1, 2, 3, 4)),
            autoexpire=autoexpire,
            scavengettl=scavengettl,
        )

    def drawExtras(self, role: str) -> dict[str, Any]:
        """Options that a quiet world has not."""
        more = self.more
        manual = {"mode": "manual", "nodelay": more.randrange(2), "interval": more.choice((10, 20, 100))}
        manual.update(resend=more.choice((0, 2, 5)), nc=more.randrange(2))
        return {
            "ratelimit": more.choice((10_000, 50_000, 300_000, 5_000_000)) if more.random() < 0.15 else 0,
            "keepalive": more.choice((10, 10, 5, 1)),
            **(manual if more.random() < 0.15 else {}),
        }

    def drawPlace(self) -> None:
        """On which ports the server listens, and which of them the client calls."""
        more = self.more
        self.ports = PORTS[:1]
        called = PORTS[:1]
        place = more.random()
        if place < 0.2:
            self.ports, called = PORTS, more.choice((PORTS, PORTS[1:3], PORTS[3:]))
        elif place < 0.3:
            self.ports, called = more.choice((PORTS[:1], PORTS[1:3])), PORTS
        self.network.refuses = more.random() < 0.5
        last = called[-1] if len(called) > 1 else 0
        self.clientSettings = replace(self.clientSettings, remoteaddr=Address(SERVER[0], called[0], last))

    def drawEvent(self) -> Event:
        more = self.more
        name = more.choice(EVENTS)
        at = more.uniform(0.02, more.choice((0.3, 3.0, EVENTS_END)))
        facts: dict[str, Any] = {}
        if name in ("reconfigureClient", "reconfigureServer"):
            facts = {"changes": self.drawChanges(name)}
        elif name == "restart":
            facts = {
                "end": more.choice((CLIENT_END, SERVER_END)),
                "how": more.choice(("close", "crash", 0.0, 0.3, 3.0, LONG)),
                "gap": more.choice((0.0, 0.5, 4.0, 15.0, 40.0)),
                "changes": self.drawChanges("restart") if more.random() < 0.3 else {},
            }
            if facts["end"] == SERVER_END and more.random() < 0.2:
                facts["secrets"] = self.drawNewSecrets()
        elif name == "cut":
            ends = more.choice((BOTH_ENDS, BOTH_ENDS, (CLIENT_END,), (SERVER_END,)))
            facts = {"seconds": more.choice((0.1, SHORT_CUT, 3.0, 10.0, 60.0)), "ends": ends}
        elif name == "narrow":
            facts = {"mtu": more.choice((150, 500, 900, 1300)), "seconds": more.choice((3.0, 20.0, 60.0))}
        return Event(at, name, facts)

    def drawChanges(self, name: str) -> dict[str, Any]:
        """Some options with other values."""
        more = self.more
        role = CLIENT_END if name == "reconfigureClient" else SERVER_END
        kept, self.rng = self.rng, more  # drawOptions draws from there
        options = {**self.drawOptions(), **self.drawExtras(role)}
        self.rng = kept
        if "nodelay" in options:  # a mode of one's own is one thing
            return {name: options[name] for name in ("mode", "nodelay", "interval", "resend", "nc")}
        changes = {name: options[name] for name in more.sample(sorted(options), more.choice((1, 2, 5)))}
        if "streambuf" in changes or "smuxbuf" in changes:
            changes.update(streambuf=options["streambuf"], smuxbuf=options["smuxbuf"])
        if role == CLIENT_END and more.random() < 0.5:
            changes.update(smuxver=more.choice((1, 2)), conn=more.choice((1, 2, 4)))
        if role == CLIENT_END and more.random() < 0.2:
            changes.update(autoexpire=more.choice((0, 3)), scavengettl=-1)
        return changes

    def drawNewSecrets(self) -> dict[str, Any]:
        if self.clientSettings.crypt == "null":  # to which everything looks right
            return {}
        more = self.more
        crypt = more.choice((*CIPHERS[:-1], *OTHER_CIPHERS))
        return {"crypt": crypt, "key": more.choice(("another key", self.clientSettings.key))}

    def drawFarewell(self, end: str) -> tuple[str, float | None, float]:
        """An end that leaves: how long it drains (None: it is closed), and how long after that the other leaves."""
        more = self.more
        return end, more.choice((None, 0.0, 5.0, 30.0)), more.choice((0.0, 0.0, 3.0, 15.0))

    def drawCharacter(self, rng: random.Random, stream: int) -> tuple[int, str, Any]:
        rude, manner = rng.random() < 0.2 and self.isRude, rng.choice((HANGS_UP, ABORTS))
        length = rng.randrange(min(rng.choice(LENGTHS), self.streamBytes))
        pace = rng.choice((BUSY, BUSY, BUSY, SLOW, STALLING))
        if self.isHeavy:
            length, pace = rng.randrange(HEAVY_BYTES), rng.choice((BUSY, STALLING))
        if stream >= LAST or stream in self.calm:
            return length % LAST_BYTES, ENDS, BUSY
        return length // 10 if pace is SLOW else length, manner if rude else ENDS, pace

    def drawBottleneck(self) -> None:
        more = self.more
        if more.random() < 0.15:
            self.faults.update(rate=more.choice((100_000.0, 1_000_000.0)), queue=more.choice((50.0, 500.0)))
        if self.faults.get("loss") and more.random() < 0.3:
            self.faults.update(burst=more.choice((2.0, 8.0)))

    def takeGuard(self) -> None:
        """The path carries what the widest --mtu of both ends allows, and not a byte more."""
        changed = [event.facts.get("changes", {}).get("mtu", 0) for event in self.events]
        self.guard = max(self.clientSettings.mtu, self.serverSettings.mtu, *changed, 0)
        self.network.configure(mtu=self.guard)

    # ------------------------------------------------------------ what may be expected

    @property
    def mayLose(self) -> bool:
        """Whether streams may be cut."""
        tried = self.scavenges or self.callsInVain or self.isSluggish or self.movesAndLeaves
        return tried or any(map(self.isHarsh, self.events))

    @property
    def movesAndLeaves(self) -> bool:
        """Whether a client may move, and say nothing for longer than a server that is done with a session waits for the
        acks of its last data (smux.LEAVE_PATIENCE and kcp.LINGER, 8 s; a client's next word may take 10)."""
        expires = self.clientSettings.autoexpire or any(each.facts.get("changes", {}).get("autoexpire") for each in self.events)
        renewed = any(each.name == "reconfigureClient" for each in self.events)
        return self.isRebound and bool(expires or renewed)

    @property
    def isRebound(self) -> bool:
        """Whether the client's addresses change."""
        return any(event.name == "rebind" for event in self.events)

    @property
    def isSluggish(self) -> bool:
        """Whether the path loses so much that a peer with slow timers may be given up."""
        nodelays = [event.facts.get("changes", {}).get("nodelay", 1) for event in self.events]
        modes = [event.facts.get("changes", {}).get("mode", "fast3") for event in self.events]
        eager = self.isEager() and all(nodelays) and set(modes) <= {"fast2", "fast3", "manual"}
        return self.faults.get("loss", 0) > 0.05 and not eager

    @staticmethod
    def isHarsh(event: Event) -> bool:
        return event.name in ("restart", "narrow") or event.facts.get("seconds", 0) > SHORT_CUT

    def cuts(self, end: str) -> bool:
        """Whether this end may cut streams of its own accord."""
        restarts = any(event.facts.get("end") == end for event in self.events)
        return restarts or (end == CLIENT_END and self.scavenges)

    @property
    def scavenges(self) -> bool:
        """Whether sessions expire and have little time then."""
        return self.clientSettings.autoexpire > 0 <= self.clientSettings.scavengettl < 600

    @property
    def callsInVain(self) -> bool:
        """Whether the client calls ports on which nobody listens."""
        return not set(self.clientSettings.remoteaddr.ports) <= set(self.ports)

    @property
    def isNarrow(self) -> bool:
        return any(event.name == "narrow" for event in self.events)

    @property
    def disagrees(self) -> bool:
        """Whether the secrets of both ends differ at times."""
        return any(event.facts.get("secrets") for event in self.events)

    def isPolite(self, application: Application) -> bool:
        """Whether it is certain that nobody of the two wanted it otherwise."""
        other = application.peer or self.heard.get(application.number)
        if other is None:  # a stranger, or an end of its own
            return not self.isRude and application.end == CLIENT_END
        return {application.manner, other.manner} == {ENDS}

    def __str__(self) -> str:
        facts = {
            "ports": self.ports,
            "heavy": self.isHeavy,
            "relayed": self.isRelayed,
            "numbers left": self.numbersLeft,
            "started": self.isStarted,
            "streams at": {stream: round(at, 3) for stream, at in self.opens.items()},
            "resolving": self.resolving,
            "may lose": self.mayLose,
            "farewells": self.farewells,
        }
        return "\n".join([super().__str__(), str(facts), *map(str, self.events)])
