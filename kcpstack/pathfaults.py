"""What is wrong with a path, as a line of the log: what happens, to whom, and what to do about it.

A session finds it out (kcpstack/kernels/pathcheck.py, KCPSession.watchPath); both ends say it here.
"""

from __future__ import annotations

from kcpstack.addresses import shown
from kcpstack.kernels.pathcheck import PathFault, Verdict
from kcpstack.lograte import RareLog

__all__ = ["PathLog", "TEXTS"]

TEXTS = {
    Verdict.TOO_LARGE: (
        "Session {conv:08x}: datagrams of {size} bytes vanish on the way to {peer}, while those of {passed} arrive: "
        "they are too large for the path.  Set a lower --mtu on BOTH ends (1200 passes nearly everywhere; "
        "`tracepath` shows what the path carries, with headers)"
    ),
    Verdict.UNHEARD: (
        "Session {conv:08x}: we hear {peer}, but it does not hear us: {questions} questions in {seconds:.0f} s went "
        "unanswered.  A firewall or NAT between us drops UDP in that direction: let it through, both ways"
    ),
    Verdict.DEAF: (
        "Session {conv:08x}: {peer} does not hear our answers: it goes on repeating what we have acknowledged, and "
        "{questions} questions in {seconds:.0f} s went unanswered.  A firewall or NAT between us drops UDP in that "
        "direction: let it through, both ways"
    ),
}


class PathLog:
    """Says them to ``findings``, whose rate is bounded: of one host, each kind of fault once in a while."""

    def __init__(self, findings: RareLog) -> None:
        self._findings = findings

    def faultFound(self, conv: int, address: object, fault: PathFault) -> None:
        """Say it.  ``address`` is the peer's: a socket's tuple or an IAddress."""
        peer = shown(address)
        host = peer.rpartition(":")[0]  # each session that a client dials has a port of its own
        facts = {**fault._asdict(), "verdict": fault.verdict.value}
        self._findings.warn(("path", fault.verdict, host), TEXTS[fault.verdict], conv=conv, peer=peer, **facts)
