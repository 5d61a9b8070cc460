"""--trace: a running tunnel in a file that tshark reads, and a path that cannot be written said at the start."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest
from peers import GO, OURS, Wire
from tshark import rows


@pytest.mark.option("trace")
@pytest.mark.parametrize(("client", "server"), [(OURS, GO), (GO, OURS)])
def test_a_tunnel_to_gos_kcptun_is_traced_at_every_place(tunnel, tmp_path, client, server):
    path = tmp_path / "tunnel.pcapng"
    traced = Wire(extra=("--trace", str(path)))
    it = tunnel(client, server, *((traced, Wire()) if client is OURS else (Wire(), traced)))
    it.transfer(upload=30_000, download=30_000)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    places = {place for ((place,),) in rows(path, "frame.interface_name")}
    end = "client" if client is OURS else "server"
    assert {f"{end} {name}" for name in ("wire", "opened", "smux", "compressed", "congestion")} <= places
    assert rows(path, "frame.number", show="_ws.malformed or kcptun.cut") == []
    sizes = rows(path, "kcptun.smux.length", show="kcptun.smux.cmd == 2")
    assert sum(int(size) for (found,) in sizes for size in found) >= 60_000


@pytest.mark.option("trace")
def test_a_trace_that_cannot_be_written_is_said_at_the_start():
    command = [sys.executable, "-m", "kcpstack", "client", "--trace", "/nonexistent/tunnel.pcapng"]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "kcptun client: --trace /nonexistent/tunnel.pcapng: No such file or directory\n"


@pytest.mark.option("trace")
def test_a_trace_that_others_would_choose_the_file_of_is_said_at_the_start(tmp_path):
    path = tmp_path / "tunnel.pcapng"
    path.symlink_to(tmp_path / "elsewhere")
    command = [sys.executable, "-m", "kcpstack", "client", "--trace", str(path)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == (
        f"kcptun client: --trace {path}: a symbolic link; give the name of a new file, or of a plain file of this user's\n"
    )
    assert not (tmp_path / "elsewhere").exists()
