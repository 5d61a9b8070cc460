"""Counters of real processes, Go's and ours, side by side: what SIGUSR1 prints and what --snmplog writes.

Each pair moves bytes over a bad link with FEC 10/3.  The same relations must hold for the counters of Go's
end and of ours, and both must agree with what the link says it did (tests/counterrelations.py).
"""

from __future__ import annotations

import signal
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from counterrelations import assertOneEnd, assertPath, parsed
from peers import BAD, GO, OURS, Process, Wire

from kcpstack.counters import SNMP
from kcpstack.gotime import MONTHS, expand
from kcpstack.snmp import header

MTU = 1350
CRYPT_HEADER = 20
WIRE = Wire(fec=(10, 3), mtu=MTU, smux=2, compression=False)
CLEAN = dict.fromkeys(BAD, 0)
SECONDS = 20  # for something to happen that takes one or two


def printed(process: Process) -> dict[str, int]:
    """What the process prints for a SIGUSR1."""
    before = process.written().count("KCP SNMP:")
    process.signal(signal.SIGUSR1)
    until(lambda: process.written().count("KCP SNMP:") > before and process.written().endswith("\n"))
    (line,) = [line for line in process.written().splitlines() if "KCP SNMP:" in line][before:]
    return parsed(line)


def until(condition) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def settled(it) -> tuple[dict, dict, dict]:
    """The counters of client and server and the link's tally, once nothing moves any more."""
    last = None
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        seen = (printed(it.client), printed(it.server), it.link.tally())
        if last == seen:
            return seen
        last = seen
        time.sleep(0.3)
    raise AssertionError(f"the counters do not come to rest: {last}")


@pytest.mark.parametrize("client,server", [(OURS, GO), (GO, OURS), (OURS, OURS), (GO, GO)])
def test_the_counters_of_both_ends_agree_with_each_other_and_with_the_link(tunnel, client, server):
    it = tunnel(client, server, WIRE, seed=5)
    it.link.set(**BAD, delay=10)
    it.transfer(upload=300_000, download=600_000, streams=4)
    it.link.set(**CLEAN)
    it.transfer(upload=2_000, download=2_000)
    atClient, atServer, tally = settled(it)
    for here in (atClient, atServer):
        assertOneEnd(here, MTU)
        assert min(here[name] for name in ("RetransSegs", "RepeatSegs", "FECRecovered", "InCsumErrors")) > 0
    assertPath(atClient, {**tally["forward"], "longest": MTU}, atServer, CRYPT_HEADER)
    assertPath(atServer, {**tally["back"], "longest": MTU}, atClient, CRYPT_HEADER)
    assert (atClient["ActiveOpens"], atClient["PassiveOpens"]) == (1, 0)
    assert (atServer["ActiveOpens"], atServer["PassiveOpens"]) == (0, 1)
    for here in (atClient, atServer):
        assert here["CurrEstab"] == here["MaxConn"] == 1
        # Three datagrams of thirteen are parity: 0.23 of those that come, but for luck and a start without.
        assert 0.15 < here["FECParityShards"] / here["InPkts"] < 0.28


def test_every_name_that_debians_process_prints_is_one_of_ours_too(tunnel):
    it = tunnel(OURS, GO, WIRE)
    it.transfer(upload=1000)
    ours, theirs = printed(it.client), printed(it.server)
    assert set(theirs) <= set(ours)
    assert [name for name in ours if name in SNMP] == list(SNMP)


def test_on_a_clean_path_the_ends_count_the_same_segments_and_datagrams(tunnel):
    it = tunnel(OURS, GO, WIRE)
    it.transfer(upload=100_000, download=100_000)
    ours, theirs, _ = settled(it)
    for here, there in ((ours, theirs), (theirs, ours)):
        assert here["OutPkts"] == there["InPkts"]
        assert here["OutSegs"] == there["InSegs"]
        assert here["OutBytes"] == there["InBytes"] + CRYPT_HEADER * there["InPkts"]
        assert here["BytesSent"] == there["BytesReceived"]


@pytest.mark.parametrize("kind", [OURS, GO])
@pytest.mark.option("snmplog", "snmpperiod")
def test_snmplog_writes_rows_with_a_header_into_a_file_named_by_the_time(tunnel, tmp_path, kind):
    options = ("--snmplog", f"{tmp_path}/snmp-January.csv", "--snmpperiod", "1")
    it = tunnel(kind, kind, Wire(), serverWire=Wire(extra=options))
    it.transfer(upload=10_000)
    until(lambda: sum(path.read_text().count("\n") for path in tmp_path.glob("snmp-*.csv")) >= 4)
    path = min(tmp_path.glob("snmp-*.csv"))
    assert path.name[len("snmp-") : -len(".csv")] in MONTHS
    first, *rows = path.read_text().splitlines()
    assert first.startswith("Unix,BytesSent,BytesReceived,MaxConn,")
    assert kind == GO or first + "\n" == header()
    numbers = [dict(zip(first.split(","), map(int, row.split(",")))) for row in rows]
    assert all(len(row) == first.count(",") + 1 for row in numbers)
    assert all(early["Unix"] < late["Unix"] for early, late in zip(numbers, numbers[1:]))
    assert numbers[-1]["BytesReceived"] > 0 and numbers[-1]["PassiveOpens"] == 1


LAYOUTS = (
    "20060102",
    "2006-01-02T15 MST -0700 -07:00 -07 Z07:00 Z0700 Z07",
    "January Jan 1 Monday Mon 2 _2 02 06 __2 002",
    "3 03 PM pm 4 04 5 05",
    "Month Janet Mont _2006 __2006 20200 012 0102030405 1150",
    "-07:00:00 -070000 Z07:00:00 Z070000 .7 .0001 ,8x",
)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/Sao_Paulo", "Europe/Vienna"])
def test_a_layout_names_the_file_that_debians_process_writes(tmp_path, monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    processes = []
    try:
        for number, layout in enumerate(LAYOUTS):
            folder = tmp_path / str(number)
            folder.mkdir()
            command = ["kcptun-server", "-l", "127.0.0.1:0", "-t", "127.0.0.1:1"]
            command += ["--snmplog", f"{folder}/{layout}", "--snmpperiod", "1"]
            processes.append(Process(command, tmp_path / f"{number}.log"))
        for number, layout in enumerate(LAYOUTS):
            folder = tmp_path / str(number)
            until(lambda folder=folder: any(path.read_text().count("\n") >= 2 for path in folder.iterdir()))
            path = min(folder.iterdir())
            unix = int(path.read_text().splitlines()[1].split(",")[0])
            possible = [expand(layout, datetime.fromtimestamp(unix - late, ZoneInfo(zone))) for late in (0, 1)]
            assert path.name in possible, layout
    finally:
        for process in processes:
            process.kill()
