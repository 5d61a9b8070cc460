"""The counters of one process, client or server: kcp-go's SNMP names, and ours.

One object is made at the top and passed to every layer; nothing here is global.  The tables below
are the one list of names, and say what each counts: printouts and the documentation come from them.  ``SNMP`` keeps
kcp-go's names and column order, ``FORMER`` and ``ALIASES`` what other releases of it have; ``OWN`` are
additions.  ``DIFFERENCES`` says where a count of ours is not quite kcp-go's.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, get_type_hints

__all__ = ["ALIASES", "Counters", "DIFFERENCES", "FORMER", "OWN", "SNMP"]


class _SNMP:
    """kcp-go's."""

    __slots__ = ()

    BytesSent: Annotated[int, "payload bytes given to KCP"]
    BytesReceived: Annotated[int, "payload bytes KCP handed up"]
    MaxConn: Annotated[int, "most sessions at once"]
    ActiveOpens: Annotated[int, "sessions we dialled"]
    PassiveOpens: Annotated[int, "sessions peers opened"]
    CurrEstab: Annotated[int, "sessions now"]
    InErrs: Annotated[int, "datagrams dropped: too short, from a stranger, or not understood"]
    InCsumErrors: Annotated[int, "datagrams dropped by the cipher: wrong checksum or tag"]
    KCPInErrors: Annotated[int, "datagrams KCP refused"]
    InPkts: Annotated[int, "datagrams received by a session: opened by the cipher, from a known peer"]
    OutPkts: Annotated[int, "datagrams sent, parity included"]
    InSegs: Annotated[int, "KCP segments received: pushes, acks and window probes, rebuilt ones too"]
    OutSegs: Annotated[int, "KCP segments sent: pushes, acks and window probes"]
    InBytes: Annotated[int, "bytes of what InPkts counts, without the cipher's header"]
    OutBytes: Annotated[int, "bytes of what OutPkts counts: whole UDP payloads"]
    RetransSegs: Annotated[int, "segments sent again: the sum of Fast, Early and Lost"]
    FastRetransSegs: Annotated[int, "sent again because `resend` later acks skipped them"]
    EarlyRetransSegs: Annotated[int, "sent again after one later ack, with nothing new to send"]
    LostSegs: Annotated[int, "sent again because their timer ran out"]
    RepeatSegs: Annotated[int, "push segments received twice"]
    FECFullShards: Annotated[int, "groups of which every data shard arrived"]
    FECParityShards: Annotated[int, "parity shards received"]
    FECErrs: Annotated[int, "FEC packets or groups that could not be used"]
    FECRecovered: Annotated[int, "data shards rebuilt from parity"]
    FECShardSet: Annotated[int, "groups that the decoder heard last holds now"]
    FECShardMin: Annotated[int, "lowest group number that this decoder still takes"]
    RingBufferSndQueue: Annotated[int, "segments waiting to be sent"]
    RingBufferRcvQueue: Annotated[int, "segments waiting to be read"]
    RingBufferSndBuffer: Annotated[int, "segments in flight"]
    OOBPackets: Annotated[int, "out-of-band packets received"]


class _Former:
    """What other releases of kcp-go have."""

    __slots__ = ()

    FECShortShards: Annotated[int, "data shards of groups given up on with some missing, too many to rebuild (2021)"]


# Other releases' names for one of the above.
ALIASES = {
    "FECSegs": "FECParityShards",  # 2016
    "FECFullShardSet": "FECFullShards",  # the newest, in what it prints; its CSV has the other
}


class _Own:
    """Ours."""

    __slots__ = ()

    OutErrs: Annotated[int, "datagrams the kernel would not take"]
    RecvWindowDrops: Annotated[int, "push segments beyond our receive window"]
    AcksIgnored: Annotated[int, "acks that no transmission of ours explains"]
    MuxErrs: Annotated[int, "smux frames that broke the protocol"]
    UnknownStreams: Annotated[int, "smux frames for a stream that is not there"]
    CompressionErrs: Annotated[int, "sessions ended by bad compressed data"]


def _table(names: type) -> dict[str, str]:
    """What each counter of a class counts, by name and in its order."""
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(names, include_extras=True).items()}


SNMP = _table(_SNMP)
FORMER = _table(_Former)
OWN = _table(_Own)

DIFFERENCES = {
    "InErrs": "kcp-go counts datagrams that come to a client from another address (the kernel drops them "
    "here) and FEC packets that are too short. It drops strangers at a server, and data shards whose size "
    "is wrong, without counting.",
    "InCsumErrors": "kcp-go does not count what is too short for the cipher's header; we do.",
    "KCPInErrors": "A few bytes behind the last segment are an error here, and none in kcp-go.",
    "OutPkts": "What the kernel would not take is in here and in OutErrs; kcp-go counts what it took.",
    "RetransSegs": "Counted when a segment is found lost; an ack that arrives before it is sent again "
    "still saves the sending. kcp-go finds and sends in one step.",
    "FastRetransSegs": "We compare the order of sendings, where kcp-go counts acks of later segments: a "
    "segment that is lost twice can be found twice without its timer.",
    "EarlyRetransSegs": "As above.",
    "RepeatSegs": "Pushes beyond our window are in RecvWindowDrops; kcp-go has them in here. A rebuilt "
    "segment that had come already counts here, and not in kcp-go. The copy that comes after a rebuilt one "
    "counts in both.",
    "FECParityShards": "Duplicates count, as in kcp-go until June 2025.",
    "FECErrs": "Includes strays of another sequence and contradictions of what was learned of the "
    "sender's parameters, which kcp-go does not notice.",
    "FECRecovered": "Rebuilding begins when the sender's parameters are certain, kcp-go's at once with its own.",
    "FECShardMin": "kcp-go stores the newest group's number under this name.",
    "RingBufferSndQueue": "The sum over all sessions when it is printed; kcp-go has the session that sent "
    "last. We cut segments when they leave: bytes waiting are divided by the longest one.",
    "RingBufferRcvQueue": "As above.",
    "RingBufferSndBuffer": "As above.",
    "FECShortShards": "kcp-go counts them one by one as its queue overflows.",
}


class Counters(_SNMP, _Former, _Own):
    """Plain integer attributes, one for each name in SNMP, FORMER and OWN; add to them directly.

    Names in ALIASES can be read."""

    __slots__ = (*SNMP, *FORMER, *OWN)

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def asDict(self) -> dict[str, int]:
        """All counters by name, in table order.  Without aliases, so that nothing is there twice."""
        return {name: getattr(self, name) for name in self.__slots__}


for _alias, _name in ALIASES.items():
    setattr(Counters, _alias, property(attrgetter(_name)))
