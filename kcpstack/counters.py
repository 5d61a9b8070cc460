"""The counters of one process, client or server: kcp-go's SNMP names, and ours.

One object is made at the top and passed to every layer; nothing here is global.  The table below
is the one list of names: attributes, printouts and the documentation come from it.  ``SNMP`` keeps
kcp-go's names and column order; ``OWN`` are additions.
"""

from __future__ import annotations

__all__ = ["Counters", "SNMP", "OWN"]

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
    "InPkts": "datagrams received",
    "OutPkts": "datagrams sent",
    "InSegs": "KCP segments received",
    "OutSegs": "KCP push segments sent",
    "InBytes": "bytes received in UDP payloads",
    "OutBytes": "bytes sent in UDP payloads",
    "RetransSegs": "segments sent again, for whatever reason",
    "FastRetransSegs": "sent again because `resend` later acks skipped them",
    "EarlyRetransSegs": "sent again after one later ack, with nothing new to send",
    "LostSegs": "sent again because their timer ran out",
    "RepeatSegs": "push segments received twice",
    "FECFullShards": "groups of which every data shard arrived",
    "FECParityShards": "parity shards received",
    "FECErrs": "FEC packets or groups that could not be used",
    "FECRecovered": "data shards rebuilt from parity",
    "FECShardSet": "groups the decoder holds now",
    "FECShardMin": "lowest group number the decoder still takes",
    "RingBufferSndQueue": "segments waiting to be sent, at the last count",
    "RingBufferRcvQueue": "segments waiting to be read, at the last count",
    "RingBufferSndBuffer": "segments in flight, at the last count",
    "OOBPackets": "out-of-band packets received",
}

OWN = {
    "OutErrs": "datagrams the kernel would not take",
    "RecvWindowDrops": "push segments beyond our receive window",
    "AcksIgnored": "acks that no transmission of ours explains",
    "MuxErrs": "smux frames that broke the protocol",
    "UnknownStreams": "smux frames for a stream that is not there",
    "CompressionErrs": "sessions ended by bad compressed data",
}


class Counters:
    """Plain integer attributes, one for each name in SNMP and OWN; add to them directly."""

    __slots__ = tuple(SNMP) + tuple(OWN)

    def __init__(self) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)

    def asDict(self) -> dict[str, int]:
        """All counters by name, in table order."""
        return {name: getattr(self, name) for name in self.__slots__}
