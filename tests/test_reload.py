"""SIGHUP: the file is read again, the log opened anew, and each change said with when it takes effect."""

from __future__ import annotations

import signal

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, formatEvent, globalLogPublisher

from kcpstack.logfile import LogFile
from kcpstack.options import Configuration, RelayTarget, ServerSettings
from kcpstack.reload import Reloading
from kcpstack.service import ServerService


class Tunnel:
    """Stands for the service that is told of changes."""

    def __init__(self, settings) -> None:
        self.settings = settings
        self.taken = []
        self.refuses = ""

    def check(self, settings) -> None:
        if self.refuses:
            raise ValueError(self.refuses)

    def reconfigure(self, settings) -> None:
        self.settings = settings
        self.taken.append(settings)


class Setup:
    """A server's configuration in a file that a test may change."""

    def __init__(self, content: bytes, logFile=None, **texts: str) -> None:
        self.content = content
        texts = {"c": "my.json", "key": "mine", **texts}
        configuration = Configuration("server", texts, {}, lambda path: self.content)
        self.tunnel = Tunnel(configuration.settings)
        self.reloading = Reloading(Clock(), configuration, self.tunnel, logFile)

    def reload(self, content: bytes) -> None:
        self.content = content
        self.reloading.reload()


@pytest.fixture
def logged():
    """The lines that were logged."""
    lines: list[str] = []

    def observe(event) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.mark.option("c")
def test_what_may_change_is_taken_over_and_what_may_not_waits_for_a_restart(logged):
    it = Setup(b'{"mtu": 1200, "smuxver": 1}')
    it.reload(b'{"mtu": 1400, "quiet": true, "nocomp": true}')
    (taken,) = it.tunnel.taken
    assert (taken.mtu, taken.smuxver, taken.quiet, taken.nocomp) == (1200, 2, True, True)
    assert logged == [
        "SIGHUP: --mtu 1400 instead of 1200, after a restart",
        "SIGHUP: --nocomp on instead of off, with new sessions",
        "SIGHUP: --smuxver 2 instead of 1, with new sessions",
        "SIGHUP: --quiet on instead of off, at once",
    ]


def test_what_waits_for_a_restart_is_said_each_time():
    it = Setup(b'{"mtu": 1200}')
    it.reload(b'{"mtu": 1400}')
    it.reload(b'{"mtu": 1400, "quiet": true}')
    assert [taken.mtu for taken in it.tunnel.taken] == [1200, 1200]
    it.reload(b'{"mtu": 1200, "quiet": true}')
    assert len(it.tunnel.taken) == 2


def test_a_key_is_not_shown(logged):
    it = Setup(b'{"key": "first secret"}')
    it.reload(b'{"key": "second secret"}')
    assert "SIGHUP: --key changed, after a restart" in logged
    assert not any("secret" in line for line in logged)


@pytest.mark.parametrize("content", [b'{"mtu": 9}', b"{", b'{"smuxbuf": 70000}'])
def test_a_file_that_will_not_do_changes_nothing(content, logged):
    it = Setup(b'{"mtu": 1200}')
    it.reload(content)
    assert it.tunnel.taken == []
    assert [line for line in logged if line.startswith("SIGHUP: nothing is changed: ")]
    it.reload(b'{"quiet": true}')
    assert it.tunnel.settings.quiet


def test_what_the_tunnel_could_not_take_over_changes_nothing_and_can_be_mended(logged):
    it = Setup(b'{"mtu": 1200}')
    it.tunnel.refuses = "--target @endpoint:nix: give something else"
    it.reload(b'{"sndwnd": 77}')
    assert it.tunnel.taken == []
    assert logged == ["SIGHUP: nothing is changed: --target @endpoint:nix: give something else"]
    it.tunnel.refuses = ""
    it.reload(b'{"sndwnd": 78}')
    assert it.tunnel.settings.sndwnd == 78


def test_a_relay_target_that_does_not_take_its_argument_is_found_before_anything_changes():
    service = ServerService(MemoryReactorClock(), ServerSettings())
    with pytest.raises(ValueError, match="^--target @endpoint:nix: give one of Twisted's"):
        service.check(ServerSettings(target=RelayTarget("endpoint", "nix")))


def test_a_new_unknown_key_is_said_once(logged):
    it = Setup(b"{}")
    for _ in range(2):
        it.reload(b'{"mtuu": 1}')
    assert len([line for line in logged if "mtuu" in line]) == 1


@pytest.mark.option("log")
def test_the_log_goes_on_in_the_file_of_that_name(tmp_path):
    path = tmp_path / "kcptun.log"
    log = LogFile(str(path))
    logger = Logger(observer=log)
    logger.info("first")
    path.rename(tmp_path / "kcptun.log.1")
    logger.info("second")
    it = Setup(b"{}", log, log=str(path))
    it.reload(b"{}")
    logger.info("third \u20ac")
    assert [line.split()[-1] for line in (tmp_path / "kcptun.log.1").read_text().splitlines()] == ["first", "second"]
    assert path.read_text("utf-8").endswith("third \u20ac\n")
    assert "third" not in (tmp_path / "kcptun.log.1").read_text()


def test_a_log_file_that_cannot_be_opened_leaves_the_old_one(tmp_path, logged):
    path = tmp_path / "kcptun.log"
    log = LogFile(str(path))
    it = Setup(b"{}", log, log=str(path))
    it.reload(b'{"log": "/nowhere/at/all", "quiet": true}')
    assert it.tunnel.taken == []
    assert logged == [
        "SIGHUP: nothing is changed: --log /nowhere/at/all: No such file or directory: give a file that this user can write"
    ]
    Logger(observer=log).info("still here")
    assert "still here" in path.read_text()


def test_a_log_file_that_is_still_there_is_not_opened_again_for_that_may_be_forbidden(tmp_path, logged, monkeypatch):
    path = tmp_path / "kcptun.log"
    it = Setup(b"{}", LogFile(str(path)), log=str(path))
    monkeypatch.setattr("builtins.open", None)
    it.reload(b'{"quiet": true}')
    assert it.tunnel.settings.quiet


def test_a_relative_log_file_stays_where_the_process_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    it = Setup(b"{}", LogFile("kcptun.log"), log="kcptun.log")
    (tmp_path / "kcptun.log").rename(tmp_path / "kcptun.log.1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # as a daemon does
    it.reload(b"{}")
    assert (tmp_path / "kcptun.log").exists()


def test_a_secret_of_the_wrong_type_is_not_logged(logged):
    it = Setup(b"{}")
    it.reload(b'{"key": 12345678}')
    assert logged == ['SIGHUP: nothing is changed: my.json: "key": (not shown): give a text in quotes']


@pytest.mark.option("c", "log")
def test_while_the_tunnel_closes_the_log_is_opened_anew_and_no_option_changes(tmp_path, logged):
    path = tmp_path / "kcptun.log"
    it = Setup(b"{}", LogFile(str(path)), log=str(path))
    it.reloading.stopService()
    path.rename(tmp_path / "kcptun.log.1")
    it.reload(b'{"quiet": true}')
    assert path.exists()
    assert it.tunnel.taken == []
    assert logged == ["SIGHUP: this is closing, and takes over no options any more"]


def test_without_a_file_or_a_log_the_signal_is_left_alone():
    before = signal.getsignal(signal.SIGHUP)
    configuration = Configuration("server", {"key": "mine"}, {})
    reloading = Reloading(Clock(), configuration, Tunnel(configuration.settings), None)
    reloading.startService()
    assert signal.getsignal(signal.SIGHUP) is before
    reloading.stopService()


def test_the_remarks_of_the_configuration_begin_the_log(logged):
    configuration = Configuration("server", {}, {})
    reloading = Reloading(Clock(), configuration, Tunnel(configuration.settings), None)
    reloading.startService()
    assert logged == configuration.remarks != []
    reloading.stopService()
