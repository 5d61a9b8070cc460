"""The counters of one process, client or server: kcp-go's SNMP names, and ours.

One object is made at the top and passed to every layer; nothing here is global.  The tables below
are the one list of names: attributes, printouts and the documentation come from them.  ``SNMP`` keeps
kcp-go's names and column order, ``FORMER`` and ``ALIASES`` what other releases of it have; ``OWN`` are
additions.  ``DIFFERENCES`` says where a count of ours is not quite kcp-go's.
"""

from __future__ import annotations

from operator import attrgetter

__all__ = ["ALIASES", "Counters", "DIFFERENCES", "FORMER", "OWN", "SNMP"]

SNMP = {
    "BytesSent": "payload bytes given to KCP",
    "BytesReceived": "payload bytes KCP handed up",
    "MaxConn": "most sessions at once",
    "ActiveOpens": "sessions we dialled",
    "PassiveOpens": "sessions peers opened",
    "CurrEstab": "sessions now",
    "InErrs": "datagrams dropped: too short, from a stranger, or not understood",
    "InCsumErrors": "datagrams dropped by the cipher: wrong checksum or tag",
    "KCPInErrors": "datagrams KCP refused",
    "InPkts": "datagrams received by a session: opened by the cipher, from a known peer",
    "OutPkts": "datagrams sent, parity included",
    "InSegs": "KCP segments received: pushes, acks and window probes, rebuilt ones too",
    "OutSegs": "KCP segments sent: pushes, acks and window probes",
    "InBytes": "bytes of what InPkts counts, without the cipher's header",
    "OutBytes": "bytes of what OutPkts counts: whole UDP payloads",
    "RetransSegs": "segments sent again: the sum of Fast, Early and Lost",
    "FastRetransSegs": "sent again because `resend` later acks skipped them",
    "EarlyRetransSegs": "sent again after one later ack, with nothing new to send",
    "LostSegs": "sent again because their timer ran out",
    "RepeatSegs": "push segments received twice",
    "FECFullShards": "groups of which every data shard arrived",
    "FECParityShards": "parity shards received",
    "FECErrs": "FEC packets or groups that could not be used",
    "FECRecovered": "data shards rebuilt from parity",
    "FECShardSet": "groups that the decoder heard last holds now",
    "FECShardMin": "lowest group number that this decoder still takes",
    "RingBufferSndQueue": "segments waiting to be sent",
    "RingBufferRcvQueue": "segments waiting to be read",
    "RingBufferSndBuffer": "segments in flight",
    "OOBPackets": "out-of-band packets received",
}

FORMER = {
    "FECShortShards": "data shards of groups given up on with some missing, too many to rebuild (2021)",
}

# Other releases' names for one of the above.
ALIASES = {
    "FECSegs": "FECParityShards",  # 2016
    "FECFullShardSet": "FECFullShards",  # the newest, in what it prints; its CSV has the other
}

OWN = {
    "OutErrs": "datagrams the kernel would not take",
    "RecvWindowDrops": "push segments beyond our receive window",
    "AcksIgnored": "acks that no transmission of ours explains",
    "MuxErrs": "smux frames that broke the protocol",
    "UnknownStreams": "smux frames for a stream that is not there",
    "CompressionErrs": "sessions ended by bad compressed data",
}

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


class Counters:
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
