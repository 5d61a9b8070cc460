"""The fixture that makes tunnels of real processes."""

from __future__ import annotations

import signal

import pytest
from peers import Tunnel

# Children inherit what is ignored: by nohup, or in a shell's background.  Here they are to be asked to stop.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def tunnel(tmp_path):
    """Makes tunnels: ``tunnel(GO, OURS, wire)`` and all else that peers.Tunnel takes.

    They are ended after the test, whatever happens in it, and what their processes wrote is printed where
    it failed.  One of ours that logged a traceback, or ended by itself, makes the test fail."""
    made = []

    def make(*args, **settings):
        made.append(Tunnel(tmp_path / f"tunnel{len(made)}", *args, **settings))
        made[-1].start()
        return made[-1]

    yield make
    complaints = []
    for each in made:
        each.printLogs()  # pytest shows this only where the test failed
        complaints += each.stop()
    assert not complaints, "\n".join(complaints)
