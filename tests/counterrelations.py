"""What must hold between the counters of both ends and what the path between them did.

Each relation holds for kcp-go's counters and for ours, at both ends, once all that was sent has arrived or
been lost.  Counters are dicts by name; a tally is that of one direction (kcpstack.testing.impairment.Tally).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["assertOneEnd", "assertPath", "parsed"]

Numbers = Mapping[str, int]
HEADER = 24  # bytes of a KCP segment's


def parsed(line: str) -> dict[str, int]:
    """The counters in a line that kcptun or we printed: ``... KCP SNMP:&{BytesSent:0 ...}``."""
    fields = line.partition("KCP SNMP:&{")[2].rpartition("}")[0].split(" ")
    return {name: int(value) for name, value in (field.split(":") for field in fields)}


def assertOneEnd(here: Numbers, mtu: int) -> None:
    """Between the counters of one process.  ``mtu`` is the longer of both ends'."""
    assert here["RetransSegs"] == here["LostSegs"] + here["FastRetransSegs"] + here["EarlyRetransSegs"]
    assert here["FECRecovered"] <= here["FECParityShards"] <= here["InPkts"]
    assert here["CurrEstab"] <= here["MaxConn"] <= here["ActiveOpens"] + here["PassiveOpens"]
    # Every push that came and every rebuilt one was either repeated or handed up.
    assert here["RepeatSegs"] + -(-here["BytesReceived"] // (mtu - HEADER)) <= here["InSegs"]
    assert here["BytesSent"] <= here["OutSegs"] * (mtu - HEADER)
    assert here["BytesSent"] < here["OutBytes"] and here["BytesReceived"] < here["InBytes"] + here["FECRecovered"] * mtu
    assert here["OutBytes"] <= here["OutPkts"] * mtu and here["InBytes"] <= here["InPkts"] * mtu


def assertPath(sender: Numbers, path: Mapping[str, int], receiver: Numbers, cryptHeader: int) -> None:
    """Between what one end sent, what became of it under way, and what the other received.

    ``cryptHeader`` is what the cipher puts in front, which InBytes is without."""
    assert (sender["OutPkts"], sender["OutBytes"]) == (path["offered"], path["offeredBytes"])
    assert receiver["BytesReceived"] == sender["BytesSent"]
    strangers = receiver["InErrs"]
    assert receiver["InPkts"] + receiver["InCsumErrors"] + strangers == path["carried"]
    # One may be doubled; one whose nonce alone was hit is as good as new.
    assert receiver["InCsumErrors"] <= 2 * path["corrupted"]
    refused = path["carriedBytes"] - receiver["InBytes"] - receiver["InPkts"] * cryptHeader
    assert 0 <= refused <= (receiver["InCsumErrors"] + strangers) * path["longest"]
    # A datagram can be rebuilt that is late, and comes all the same.
    assert receiver["FECRecovered"] <= path["lost"] + path["corrupted"] + path["reordered"]
