"""Listening: what stands in the way is one line that says what would help, and many refusals are few lines."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import Logger, formatEvent, globalLogPublisher

from kcpstack.listening import PERIOD, AcceptErrors, CannotBegin, listening


@pytest.fixture
def logged():
    """The lines that were logged."""
    lines: list[str] = []

    def observe(event) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def refused(reason, **said) -> str:
    """The line for ``reason``."""
    return str(CannotBegin("--listen :29900", CannotListenError("", 29905, reason), **said))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EADDRINUSE, "is a kcptun running?"),
        (errno.EADDRNOTAVAIL, "give an address of this machine"),
        (errno.EACCES, "ports below 1024"),
        (errno.ENOENT, "make the directory first"),
    ],
)
def test_each_reason_is_said_with_its_option_and_its_remedy(number, remedy):
    line = refused(OSError(number, os.strerror(number)))
    assert line.startswith(f"--listen :29900: {os.strerror(number)}: ")
    assert remedy in line


def test_a_host_that_is_not_known_is_a_reason_too():
    assert "give an address of this machine" in refused(socket.gaierror(socket.EAI_NONAME, "Name not known"))


def test_of_a_range_the_port_is_named():
    assert refused(OSError(errno.EADDRINUSE, "in use"), isRange=True).startswith("--listen :29900 (port 29905): in use: ")


def test_another_reason_is_said_as_it_is():
    assert refused(OSError(errno.EIO, "broken")) == "--listen :29900: broken"
    assert refused("Cannot acquire lock") == "--listen :29900: Cannot acquire lock: another process listens there"


@pytest.mark.parametrize("error", [CannotListenError("", 1, OSError(errno.ENOENT, "gone")), OSError(errno.ENOENT, "gone")])
def test_whatever_listening_raises_is_said_in_these_words(error):
    def listen():
        raise error

    with pytest.raises(CannotBegin, match=r"^--localaddr unix:/run/x: gone: make the directory first$"):
        listening("--localaddr unix:/run/x", listen)


def test_what_listens_is_handed_back():
    assert listening("--listen :1", lambda: "port") == "port"


def test_connections_that_cannot_be_accepted_are_one_line_in_a_while(logged):
    clock = Clock()
    log = Logger(observer=AcceptErrors(clock))
    for _ in range(100):
        log.info("EMFILE encountered; releasing reserved file descriptor.")
        log.info("EMFILE recovery: Closed socket from {address}", address=("192.0.2.1", 1))
    assert len(logged) == 1
    assert "ulimit -n" in logged[0]
    clock.advance(PERIOD)
    log.info("Could not accept new connection ({acceptError})", acceptError="ENFILE")
    assert logged[1:] == [f"A connection could not be accepted: {os.strerror(errno.ENFILE)} (99 more since the last such line)"]


def test_a_port_of_this_twisted_can_be_watched():
    from twisted.internet import reactor, tcp

    port = tcp.Port(0, None, reactor=reactor)
    observer = AcceptErrors(Clock())
    observer.watch(port)
    assert port._logger.observer is observer


@pytest.mark.parametrize("name", ["poll", "select"])
def test_a_process_takes_as_many_files_as_it_may_and_its_reactor_can_watch(name):
    code = (
        f"from twisted.internet import {name}reactor; {name}reactor.install(); from twisted.internet import reactor;"
        "from kcpstack.listening import raiseFileLimit, fileLimit; raiseFileLimit(reactor); print(fileLimit())"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def fewer() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, preexec_fn=fewer)
    assert int(done.stdout) == {"poll": hard, "select": 64}[name]
