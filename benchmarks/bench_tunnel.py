"""Bytes a second through whole tunnels of processes, ours beside Go's kcptun, by turns.

    python -m benchmarks.bench_tunnel [--cases aes-fec,aes | all | ciphers] [--rounds 5] [--seconds 4] [--json FILE]

``make bench`` runs all.  A source process sends over TCP through client and server to a sink process that checks every byte
(flows.py); all four share the processors of this machine.  In each round of a case both candidates run once, for
SECONDS each after a start of half a second; figures are medians over the rounds, with the least and the most.
Wrong bytes from a tunnel with one of ours in it end the program, with status 1.  Of Go's own that is said, and the run made
again: Debian's loses the beginning of a stream now and then where many open at once.
CPU is what client and server used for each gigabyte that arrived (all threads); memory the most that each ever had.

Cases with loss run in a network namespace, where the firewall drops datagrams at random, one by one: segmentation is left to
software there, so that a run that was sent in one call is many datagrams when it gets to the firewall.  That needs root,
nft and ethtool (tools/system-package.sh installs them).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case, cipherCases
from benchmarks.tunnels import CHECKOUT, GO, Child, Tunnel, WrongData, freePort

WARMUP = 0.5  # s
TRIES = 5  # runs of Go that end with wrong bytes, one after the other
FLOWS = str(CHECKOUT / "benchmarks" / "flows.py")
INSIDE = "KCPSTACK_BENCH_INSIDE"  # the namespace

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if os.environ.get(INSIDE):
        case = next(case for case in CASES if case.name == options.cases)
        print(json.dumps(compared(case, options.rounds, options.seconds)))
        return
    results = {"machine": machine(), "flowsAlone": flowsAlone(options.seconds), "cases": {}}
    print(f"{results['machine']}\nsource straight to sink: {results['flowsAlone']:.0f} MB/s\n{HEAD}")
    for case in chosen(options.cases):
        result = inNamespace(case, options) if case.loss else compared(case, options.rounds, options.seconds)
        results["cases"][case.name] = result
        print(line(case, result), flush=True)
        if options.json:
            options.json.write_text(json.dumps(results, indent=1, sort_keys=True))


def chosen(names: str) -> Iterable[Case]:
    """The cases of a list of names."""
    every = {case.name: case for case in (*CASES, *cipherCases())}
    if names == "all":
        return CASES
    if names == "ciphers":
        return cipherCases()
    unknown = [name for name in names.split(",") if name not in every]
    if unknown:
        sys.exit(f"--cases {','.join(unknown)}: there are all, ciphers, {', '.join(every)}")
    return [every[name] for name in names.split(",")]


def machine() -> str:
    """What this was measured on."""
    model = next((row.split(":")[1].strip() for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row), "?")
    when = time.strftime("%Y-%m-%d")
    return f"{when}, {os.cpu_count()} cores of {model}, Linux {platform.release()}, Python {platform.python_version()}"


# ------------------------------------------------------------ measuring


def compared(case: Case, rounds: int, seconds: float) -> dict[str, Any]:
    """Both candidates by turns: the figures of each round."""
    ours: list[Figures] = []
    go: list[Figures] = []
    for _ in range(rounds):
        ours.append(measured(case, *case.ends, seconds))
        go.append(baseline(case, seconds))
    return {"ours": ours, "go": go}


def baseline(case: Case, seconds: float) -> Figures:
    """A run of Go's own, again where it delivers what nobody sent.  Raises WrongData where it does so each time."""
    for left in reversed(range(TRIES)):
        try:
            return measured(case, GO, GO, seconds)
        except WrongData as wrong:
            print(f"{case.name}: Go's kcptun: {wrong}", file=sys.stderr)
            if not left:
                raise
    raise AssertionError("TRIES is above 0")


def measured(case: Case, client: str, server: str, seconds: float) -> Figures:
    """One run through a fresh tunnel."""
    words = [word for word, wanted in (("--duplex", case.duplex), ("--text", case.text)) if wanted]
    target = freePort()
    sink = Child([sys.executable, FLOWS, "sink", str(target), *words])
    tunnel = source = None
    try:
        tunnel = Tunnel(client, server, target, case.options(go=client == server == GO))
        source = Child([sys.executable, FLOWS, "source", str(tunnel.port), "--streams", str(case.streams), *words])
        takers = [sink, source] if case.duplex else [sink]
        time.sleep(WARMUP + 0.3)
        before, cpuBefore = [taker.ask() for taker in takers], [end.cpu() for end in tunnel.ends]
        time.sleep(seconds)
        after, cpuAfter = [taker.ask() for taker in takers], [end.cpu() for end in tunnel.ends]
        source.check()
        sink.check()
        return figures(before, after, cpuBefore, cpuAfter, [end.memory() for end in tunnel.ends])
    finally:
        for child in (source, tunnel, sink):
            if child is not None:
                child.stop()


def figures(
    before: list[tuple[int, float]], after: list[tuple[int, float]], cpuBefore: list[float], cpuAfter: list[float], memory: list[float]
) -> Figures:
    """What follows from the counts at two moments."""
    moved = sum(late[0] - early[0] for early, late in zip(before, after))
    took = statistics.mean(late[1] - early[1] for early, late in zip(before, after))
    client, server = (late - early for early, late in zip(cpuBefore, cpuAfter))
    gigabytes = max(moved, 1) / 1e9
    return {
        "rate": moved / took / 1e6,
        "clientCPU": client / gigabytes,
        "serverCPU": server / gigabytes,
        "clientMemory": memory[0],
        "serverMemory": memory[1],
    }


def flowsAlone(seconds: float) -> float:
    """MB/s from the source straight to the sink: what the measuring itself can do."""
    port = freePort()
    sink = Child([sys.executable, FLOWS, "sink", str(port)])
    time.sleep(0.5)
    source = Child([sys.executable, FLOWS, "source", str(port)])
    try:
        time.sleep(WARMUP)
        before = sink.ask()
        time.sleep(min(seconds, 2))
        after = sink.ask()
        return (after[0] - before[0]) / (after[1] - before[1]) / 1e6
    finally:
        source.stop()
        sink.stop()


# ------------------------------------------------------------ loss


def inNamespace(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """``compared`` in a process whose loopback loses datagrams."""
    command = [sys.executable, "-m", "benchmarks.bench_tunnel", "--cases", case.name]
    command += ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
    script = NAMESPACE.format(loss=case.loss) + ' && "$@"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script, "sh", *command],
        cwd=CHECKOUT,
        env={**os.environ, INSIDE: "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


NAMESPACE = """ip link set lo up && ethtool -K lo tx-udp-segmentation off gso off && nft -f - <<'RULES'
table ip bench {{
    chain lossy {{
        type filter hook input priority 0;
        meta l4proto udp numgen random mod 100 < {loss} drop
    }}
}}
RULES
true"""


# ------------------------------------------------------------ telling


def median(rounds: list[Figures], name: str) -> float:
    return statistics.median(one[name] for one in rounds)


def ratio(result: dict[str, Any]) -> float:
    """Our median over Go's."""
    return median(result["ours"], "rate") / max(median(result["go"], "rate"), 1e-9)


def verdict(case: Case, reached: float) -> str:
    """In a word: whether that is what was asked for."""
    if not case.least:
        return ""
    if reached < case.least:
        return f"MISSED by {case.least - reached:.2f}"
    return "aim reached" if case.aim and reached >= case.aim else "reached"


HEAD = (
    f"{'case':<52}{'ours MB/s':>24}{'Go MB/s':>22}{'ratio':>7}{'least':>7}{'aim':>5}  {'CPU s/GB client, server':<26}"
    f"{'Go':<13}{'MB':<9}"
)


def line(case: Case, result: dict[str, Any]) -> str:
    """One row of the table for people."""
    ours, go, reached = result["ours"], result["go"], ratio(result)
    cpu = [" ".join(f"{median(side, name):5.2f}" for name in ("clientCPU", "serverCPU")) for side in (ours, go)]
    memory = " ".join(f"{max(one[name] for one in ours):.0f}" for name in ("clientMemory", "serverMemory"))
    return (
        f"{case.title:<52}{spread(ours):>24}{spread(go):>22}{reached:7.2f}{case.least:7.1f}{case.aim:5.1f}  {cpu[0]:<26}{cpu[1]:<13}"
        f"{memory:<9}{verdict(case, reached)}"
    )


def spread(rounds: list[Figures]) -> str:
    """Median, least and most."""
    rates = [one["rate"] for one in rounds]
    return f"{statistics.median(rates):.1f} ({min(rates):.0f}..{max(rates):.0f})"


if __name__ == "__main__":
    main()
