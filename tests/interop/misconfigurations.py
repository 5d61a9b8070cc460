"""The ways to set a tunnel up wrong, each with the line of the log that says so, and real processes to prove it.

``python tests/interop/misconfigurations.py`` plays every row of ROWS and prints the line that was seen, at which
end, and after how many seconds; words behind it choose rows by their names.  It takes some five minutes.
docs/mis-set-ups.rst is made from the same rows, and test_misconfigurations.py plays each of them, and its
opposite.
"""

from __future__ import annotations

import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from peers import BAD, GO, OURS, Process, Tunnel, Wire
from traffic import REQUEST, blocks

__all__ = ["ROWS", "Outcome", "Row", "linesOf", "play", "playOpposite"]

KEY = "a key of our own"
DEFAULT_KEY = "it's a secrect"
NOT_AT_DEBIANS = ("aes-128-gcm", "null")
RIGHT = Wire(key=KEY, mode="fast2")
ANSWER = 10  # seconds that our client waits for the first answer
SLACK = 5  # seconds for two cores that are busy with other tests
WATCHED = 2.5  # seconds after the line in which it must not come too often
OPPOSITE = 3.0  # seconds of traffic in which a tunnel that is set up right must say nothing of this
QUESTION = 20_000  # bytes up, and as many down: several datagrams
ENDLESS = 1_000_000_000  # bytes of a download that is under way for as long as a row lasts
NOBODY = "127.0.0.1:1"  # no port of a target

# Makes a tunnel that runs wrong in a way that options cannot; returns the process whose log tells, if it
# is another one than the row's ``says``.
Arrange = Callable[[Tunnel], "Process | None"]


@dataclass(frozen=True)
class Row:
    """One way to be wrong.

    ``line`` is what the end ``says`` logs within ``seconds`` of traffic; {words} in braces stand for
    what differs from run to run.  It comes no more than ``most`` times in WATCHED seconds.  ``wire`` and
    ``serverWire`` are the options, ``right`` those with which both ends are well (the server's, if None)."""

    name: str
    wrong: str
    line: str
    says: str = "server"
    client: str = OURS
    server: str = OURS
    wire: Wire = RIGHT
    serverWire: Wire = RIGHT
    right: Wire | None = None
    seconds: float = 3
    most: int = 1
    target: str | None = None
    arrange: Arrange | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches the line in a log."""
        text = re.sub(r"\\\{\w+\\\}", r"\\S+", re.escape(self.line))
        return re.compile(rf"(?:\] |^)({text})$", re.MULTILINE)

    @property
    def opposite(self) -> Wire:
        """Options with which both ends are well."""
        return self.right or self.serverWire

    @property
    def between(self) -> str:
        names = {OURS: "ours", GO: "Debian's"}
        return f"{names[self.client]} to {names[self.server]}"

    def __str__(self) -> str:
        return f"{self.name}, {self.client} to {self.server}"


@dataclass(frozen=True)
class Outcome:
    """``line``: what was logged, None if it was not; ``seconds`` after traffic began; ``count`` times."""

    line: str | None
    seconds: float
    count: int


# ------------------------------------------------------------------ arrangements


def restartClient(tunnel: Tunnel) -> None:
    tunnel.client.kill()
    tunnel.startClient()


def serverAway(tunnel: Tunnel) -> None:
    """Nobody listens where the client sends to, and ICMP says so."""
    tunnel.server.kill()
    tunnel.link.kill()
    restartClient(tunnel)
    del tunnel.processes["server"], tunnel.processes["link"]


def path(**faults: float) -> Arrange:
    """A path that is so from the client's first datagram on."""

    def arrange(tunnel: Tunnel) -> None:
        tunnel.link.set(**faults)
        restartClient(tunnel)

    return arrange


def whenIdle(**faults: float) -> Arrange:
    """A path that becomes so when both ends have talked to each other, and nothing is under way."""

    def arrange(tunnel: Tunnel) -> None:
        tunnel.transfer(upload=QUESTION, download=QUESTION)
        tunnel.link.set(**faults)

    return arrange


def duringDownload(**faults: float) -> Arrange:
    """A path that becomes so while the server sends."""

    def arrange(tunnel: Tunnel) -> None:
        connection = socket.create_connection(("127.0.0.1", tunnel.port), SLACK)
        connection.sendall(REQUEST.pack(0, ENDLESS, 1))
        threading.Thread(target=drain, args=(connection, started := threading.Event()), daemon=True).start()
        assert started.wait(SLACK), "the download did not begin"
        tunnel.link.set(**faults)

    return arrange


def drain(connection: socket.socket, started: threading.Event) -> None:
    try:
        with connection:
            while connection.recv(65_536):
                started.set()
    except OSError:
        pass


def ourCommand(tunnel: Tunnel, role: str, option: str, value: str) -> Process:
    """Start ``kcptun`` as one of the tunnel's ends was started, with one option changed."""
    first = tunnel.processes[role]
    words = first.command[first.command.index(role) :]
    words[words.index(option) + 1] = value
    return Process([sys.executable, "-m", "kcpstack", *words], first.log.with_name("another.log"))


def another(role: str, kind: str) -> Arrange:
    """Start another of our clients or servers on a port that is taken."""

    def arrange(tunnel: Tunnel) -> Process:
        port = tunnel.processes[role].port(kind)
        return ourCommand(tunnel, role, {"client": "--localaddr", "server": "--listen"}[role], f"127.0.0.1:{port}")

    return arrange


def nameUnknown(tunnel: Tunnel) -> Process:
    return ourCommand(tunnel, "client", "--remoteaddr", "no-such-host.invalid:29900")


# ------------------------------------------------------------------ the rows


def noAnswer(name: str, wrong: str, **fields: object) -> Row:
    """Nothing comes back, and nothing tells why."""
    line = (
        "Session {conv} failed: no answer from {server} in 10 s: is a server "
        "there, with the same --key and --crypt, and does a firewall let its UDP through?"
    )
    return Row(name, wrong, line, says="client", seconds=ANSWER + SLACK, **fields)  # type: ignore[arg-type]


def otherKey(client: str, server: str) -> Row:
    wrong, wire = "The ends have different keys", replace(RIGHT, key="another key")
    if server == GO:
        return noAnswer("other key", wrong, server=GO, wire=wire)
    line = (
        "Datagrams from {client} open with no cipher known here under our --key: give both ends the same --key and "
        "--crypt ({number} so far)"
    )
    return Row("other key", wrong, line, client=client, wire=wire)


def noKey(client: str) -> Row:
    line = "Datagrams from {client} open with kcptun's default key: that end has no --key set, give it our --key"
    wire = replace(RIGHT, key=DEFAULT_KEY)
    return Row("no key", "The server has a key of its own, the client none", line, client=client, wire=wire)


def unknown(crypt: str) -> str:
    return (
        f"Datagrams from {{client}} open with --crypt aes, not {crypt}: give both ends the same --crypt, one that both "
        f"know (an old kcptun, Debian's, takes a method that it does not know, like {crypt}, for aes)"
    )


def otherCrypt(theirs: str, ours: str, client: str) -> Row:
    line = f"Datagrams from {{client}} open with --crypt {theirs}, not {ours}: give both ends the same --crypt"
    if ours in NOT_AT_DEBIANS:
        line = unknown(ours)
    return Row(
        f"other crypt, {theirs} to {ours}",
        "The ends have different ciphers",
        line,
        client=client,
        wire=replace(RIGHT, crypt=theirs),
        serverWire=replace(RIGHT, crypt=ours),
    )


def unknownCrypt(crypt: str) -> Row:
    """Debian's client takes it for aes."""
    line = unknown(crypt)
    wire = replace(RIGHT, crypt=crypt)
    wrong = "Both ends have a cipher that the client does not know"
    return Row(f"unknown crypt, {crypt}", wrong, line, client=GO, wire=wire, serverWire=wire, right=RIGHT)


def neverSpoken(name: str, wrong: str, wire: Wire) -> Row:
    line = (
        "{server} acknowledges, but has never said a word: are --smuxver and --nocomp the same there?  (Debian's kcptun "
        "has smuxver 1 unless told otherwise)"
    )
    return Row(name, wrong, line, says="client", server=GO, wire=wire, seconds=ANSWER + SLACK)


def otherFEC(server: tuple[int, int], said: str) -> Row:
    line = (
        f"{{server}} sends {said}, and we are set to 10/3: where they differ, an old kcptun (Debian's) corrupts "
        "streams when packets get lost, so we send none: give both ends the same --datashard and --parityshard"
    )
    return Row(
        "other FEC" if all(server) else "FEC at the client only",
        "The ends have different FEC parameters" if all(server) else "The client sends FEC, the server none",
        line,
        says="client",
        server=GO,
        wire=replace(RIGHT, fec=(10, 3)),
        serverWire=replace(RIGHT, fec=server),
        seconds=5 + SLACK,
    )


DEAF = (
    "Session {conv}: {peer} does not hear our answers: it goes on repeating what we have acknowledged, and {number} "
    "questions in {seconds} s went unanswered.  A firewall or NAT between us drops UDP in that direction: let it "
    "through, both ways"
)


def defaultKey(end: str, client: str, server: str) -> Row:
    line = (
        "The key is kcptun's well-known default, with which anybody can read and use this tunnel: give both ends a --key "
        "of your own, or set KCPTUN_KEY"
    )
    wire = replace(RIGHT, key=DEFAULT_KEY)
    wrong = "No --key is set, at both ends"
    return Row(f"default key, at the {end}", wrong, line, end, client, server, wire, wire, right=RIGHT, seconds=1)


def tooLong(sender: str, server: str, arrange: Arrange) -> Row:
    line = (
        "Session {conv}: datagrams of {number} bytes vanish on the way to {peer}, while those of {number} arrive: they "
        "are too large for the path.  Set a lower --mtu on BOTH ends (1200 passes nearly everywhere; `tracepath` shows "
        "what the path carries, with headers)"
    )
    wrong = f"--mtu is too large for the path from the {sender}"
    name = f"mtu too large, from the {sender}"
    return Row(name, wrong, line, says=sender, server=server, seconds=2 * ANSWER, arrange=arrange)


ROWS: Sequence[Row] = (
    otherKey(OURS, OURS),
    otherKey(GO, OURS),
    otherKey(OURS, GO),
    noKey(OURS),
    noKey(GO),
    otherCrypt("salsa20", "aes", OURS),
    otherCrypt("aes-128-gcm", "aes", OURS),
    otherCrypt("null", "aes", OURS),
    otherCrypt("aes", "null", OURS),
    otherCrypt("salsa20", "aes", GO),
    otherCrypt("twofish", "xor", GO),
    otherCrypt("none", "aes-128", GO),
    unknownCrypt("aes-128-gcm"),
    unknownCrypt("null"),
    noAnswer("other crypt, salsa20 to aes", "The ends have different ciphers", server=GO, wire=replace(RIGHT, crypt="salsa20")),
    noAnswer(
        "unknown crypt, null",
        "Both ends have a cipher that the server does not know",
        server=GO,
        wire=replace(RIGHT, crypt="null"),
        serverWire=replace(RIGHT, crypt="null"),
        right=RIGHT,
    ),
    neverSpoken("other smuxver", "The ends have different smux versions", replace(RIGHT, smux=2)),
    neverSpoken("other compression", "One end has --nocomp", replace(RIGHT, compression=False)),
    otherFEC((5, 2), "FEC 5/2"),
    otherFEC((0, 0), "no FEC"),
    defaultKey("client", OURS, GO),
    defaultKey("server", GO, OURS),
    Row(
        "no server",
        "No server is started, or it has another port",
        "{server} refuses UDP: no server listens there (is it started, and on this port?)",
        says="client",
        arrange=serverAway,
    ),
    noAnswer("port filtered", "A firewall drops the UDP of both directions", arrange=path(loss=100)),
    noAnswer("answers filtered", "A firewall drops the UDP that the server sends", arrange=path(loss=0, loss_back=100)),
    Row(
        "answers filtered, at the server",
        "A firewall drops the UDP that the server sends",
        DEAF,
        seconds=ANSWER + SLACK,
        arrange=path(loss=0, loss_back=100),
    ),
    Row(
        "questions filtered during a download",
        "A firewall begins to drop the UDP that the client sends, while the server sends",
        DEAF,
        says="client",
        seconds=ANSWER + SLACK,
        arrange=duringDownload(loss=100, loss_back=0),
    ),
    replace(
        noAnswer(
            "questions filtered when idle",
            "A firewall begins to drop the UDP that the client sends, while nothing is under way",
            arrange=whenIdle(loss=100, loss_back=0),
        ),
        seconds=2 * ANSWER + SLACK,
    ),
    tooLong("client", OURS, path(mtu=1000)),
    tooLong("client", GO, path(mtu=1000)),
    tooLong("server", OURS, path(mtu=0, mtu_back=1000)),
    Row(
        "unknown name",
        "The server's name does not exist",
        "No session to {server}: DNS lookup failed: no address is known of the host 'no-such-host.invalid'.",
        says="client",
        seconds=SLACK,
        arrange=nameUnknown,
    ),
    Row(
        "no target",
        "The target does not listen",
        "Refused {client} stream {number}: Connection was refused by other side: 111: Connection refused.",
        target=NOBODY,
    ),
    Row(
        "client's port taken",
        "Another program has the client's TCP port",
        "kcptun: --localaddr 127.0.0.1:{port}: Address already in use: something has that already; is a kcptun running? "
        "(ss -lnptux names it)",
        says="client",
        seconds=SLACK,
        arrange=another("client", "tcp"),
    ),
    Row(
        "server's port taken",
        "Another program has the server's UDP port",
        "kcptun: --listen 127.0.0.1:{port}: Address already in use: something has that already; is a kcptun running? "
        "(ss -lnptux names it)",
        seconds=SLACK,
        arrange=another("server", "udp"),
    ),
)


# ------------------------------------------------------------------ to play them


class Asking:
    """Somebody who uses the tunnel: asks something over a fresh connection, again and again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(PAUSE):
            try:
                with socket.create_connection(("127.0.0.1", self._port), PAUSE) as connection:
                    connection.sendall(REQUEST.pack(QUESTION, QUESTION, 1) + next(blocks(1, QUESTION)))
                    self._over.wait(PATIENCE)
            except OSError:
                pass


PAUSE = 0.3  # seconds
PATIENCE = 1.0  # seconds


def linesOf(row: Row, process: Process) -> list[str]:
    """How often the row's line is in a log, and as what."""
    return row.pattern.findall(process.written())


def play(row: Row, tunnel: Tunnel) -> Outcome:
    """Use a tunnel that runs as ``row`` wants it, until its line is there; then watch for more of them."""
    arranged = row.arrange(tunnel) if row.arrange is not None else None
    tells = arranged or tunnel.processes[row.says]
    began = time.monotonic()
    try:
        with Asking(tunnel.port):
            while not linesOf(row, tells) and time.monotonic() - began < row.seconds:
                time.sleep(0.05)
            lines, seconds = linesOf(row, tells), time.monotonic() - began
            if not lines:
                return Outcome(None, seconds, 0)
            time.sleep(WATCHED)
            return Outcome(lines[0], seconds, len(linesOf(row, tells)))
    finally:
        if arranged is not None:
            arranged.kill()


def playOpposite(tunnel: Tunnel) -> list[str]:
    """Use a tunnel that is set up right, first over a good path and then over a bad one: which of the lines there are."""
    began = time.monotonic()
    with Asking(tunnel.port):
        time.sleep(OPPOSITE / 2)
        tunnel.link.set(**BAD)
        while time.monotonic() - began < OPPOSITE:
            time.sleep(0.05)
    ends = [tunnel.processes[role] for role in ("client", "server")]
    return [line for end in ends for row in ROWS for line in linesOf(row, end)]


def main() -> int:
    wanted = [row for row in ROWS if all(word in str(row) for word in sys.argv[1:])]
    failed = 0
    for row in wanted:
        with tempfile.TemporaryDirectory() as directory:
            tunnel = Tunnel(Path(directory) / "tunnel", row.client, row.server, row.wire, row.serverWire, targetOption=row.target)
            tunnel.start()
            try:
                outcome = play(row, tunnel)
            finally:
                tunnel.stop()
        failed += outcome.line is None
        print(f"{row.name} ({row.between}), said by the {row.says} after {outcome.seconds:.1f} s, {outcome.count} times:")
        print(f"    {outcome.line or 'NOTHING'}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
