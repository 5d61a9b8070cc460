"""The options: kcptun's names, spellings and defaults, and one clear line for what is wrong."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from kcpstack.ciphers import cipherNames
from kcpstack.options import (
    BY_VALUES,
    MODES,
    TABLE,
    Address,
    ClientOptions,
    Options,
    ServerOptions,
    UnixAddress,
    optionsOf,
)
from kcpstack.options.addresses import DialAddress, ListenAddress, TargetAddress
from kcpstack.options.commandline import spellingsOf
from kcpstack.options.spelling import SpellingError, respell
from kcpstack.options.values import WholeNumber, YesOrNo

CHECKOUT = Path(__file__).resolve().parents[1]
ROLES = {"client": ClientOptions, "server": ServerOptions}
MINUTE = 60


def parse(line: str, environ: dict[str, str] | None = None):
    """The settings of a command line such as ``client -mtu 1400``."""
    role, *arguments = line.split()
    options = ROLES[role]()
    options.environ = environ or {}
    options.parseOptions(arguments)
    return options.settings()


def refusal(line: str) -> str:
    """The one line with which a command line is refused."""
    with pytest.raises(usage.UsageError) as caught:
        parse(line)
    (text,) = str(caught.value).splitlines()
    return text


# ------------------------------------------------------------------ kcptun's names and defaults


def debianOptions(role: str) -> dict[str, tuple[str, str]]:
    """What the help of Debian's kcptun lists: name -> (its other names, default as printed)."""
    command = [f"kcptun-{role}", "--help"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=MINUTE).stdout
    found = {}
    for line in text.partition("GLOBAL OPTIONS:")[2].splitlines():
        names = [name for name, _ in re.findall(r"--?(\w+)( value)?(?=[ ,])", line[:34])]
        default = re.search(r'\(default: "?(.*?)"?\)', line)
        if names:
            found[names[0]] = (",".join(names[1:]), default[1] if default else "")
    return found


# What we have under the same name and with another default; docs/options.rst says why.
OTHER_DEFAULTS = {"smuxver": "2"}
# kcptun's own parameters that its help does not list, and those of its later releases.
NOT_LISTED = {"acknodelay", "nodelay", "interval", "resend", "nc", "framesize"}
LATER_RELEASES = {"ratelimit", "closewait", "QPP", "QPPCount"}


@pytest.mark.parametrize("role", ROLES)
def test_names_letters_aliases_and_defaults_are_those_of_debians_help(role):
    expected = debianOptions(role)
    del expected["help"], expected["version"]
    ours = {}
    for option in (option for option in optionsOf(role) if option.kcptun):
        default = option.default[role] if isinstance(option.default, dict) else option.default
        others = ",".join(name for name in (*option.aliases, option.short) if name)
        ours[option.name] = (others, "" if default is False else str(default))
    assert set(ours) - NOT_LISTED - LATER_RELEASES - ({"pprof"} if role == "client" else set()) == set(expected)
    for name in set(ours) & set(expected):
        others, default = expected[name]
        assert ours[name] == (others, OTHER_DEFAULTS.get(name, default)), name


@pytest.mark.parametrize("role", ROLES)
def test_the_settings_are_the_table_and_their_defaults_its_defaults(role):
    settings = parse(role)
    rows = {option.name: option.defaultFor(role) for option in optionsOf(role) if option.setting}
    assert {field.name for field in dataclasses.fields(settings)} == set(rows)
    assert settings == type(settings)()
    ofTheMode = set(MODES["fast"]._asdict())
    for name, default in rows.items():
        assert name in ofTheMode or getattr(settings, name) == default


def test_every_default_is_a_value_that_would_be_accepted():
    for option in (option for option in TABLE if option.name != "c"):
        for role in option.roles:
            default = option.defaultFor(role)
            assert option.kind.parse(str(default)) == default, option.name


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_brings_its_own_four_values_whatever_else_is_said(mode):
    settings = parse(f"client -mode {mode} -nodelay 1 -interval 77 -resend 9 -nc 0")
    assert (settings.nodelay, settings.interval, settings.resend, settings.nc) == MODES[mode]


@pytest.mark.parametrize("mode", BY_VALUES)
def test_manual_and_default_take_the_four_values_as_given(mode):
    settings = parse(f"client -mode {mode} -nodelay 1 -interval 77 -resend 9 -nc 1")
    assert (settings.nodelay, settings.interval, settings.resend, settings.nc) == (1, 77, 9, 1)
    settings = parse(f"client -mode {mode}")
    assert (settings.nodelay, settings.interval, settings.resend, settings.nc) == (0, 50, 0, 0)


def test_the_key_comes_from_the_environment_where_the_command_line_has_none():
    assert parse("client", {"KCPTUN_KEY": "from outside"}).key == "from outside"
    assert parse("client --key mine", {"KCPTUN_KEY": "from outside"}).key == "mine"
    assert parse("client", {"KCPTUN_KEY": ""}).key == "it's a secrect"


# ------------------------------------------------------------------ spelling

names = st.sampled_from(sorted(spellingsOf("client").items()))


@given(names, st.sampled_from(["-", "--"]), st.text(), st.booleans())
def test_every_spelling_of_an_option_is_the_same_option(named, dashes, value, equals):
    name, spelling = named
    if spelling.implied == "":
        assert respell([dashes + name], spellingsOf("client")) == [f"--{spelling.name}"]
    elif equals:
        assert respell([f"{dashes}{name}={value}"], spellingsOf("client")) == [f"--{spelling.name}={value}"]
    elif spelling.implied is None:
        assert respell([dashes + name, value], spellingsOf("client")) == [f"--{spelling.name}={value}"]
    else:
        assert respell([dashes + name], spellingsOf("client")) == [f"--{spelling.name}=true"]


pieces = st.one_of(
    st.text(max_size=12),
    st.builds("{}{}{}".format, st.sampled_from(["-", "--"]), names.map(lambda named: named[0]), st.just("")),
    st.builds("--{}={}".format, names.map(lambda named: named[0]), st.text(max_size=8)),
)


@given(st.lists(pieces))
def test_respelling_twice_changes_nothing_more_and_only_spelling_errors_are_raised(arguments):
    spellings = spellingsOf("client")
    try:
        once = respell(arguments, spellings)
    except SpellingError as error:
        assert str(error)
    else:
        assert respell(once, spellings) == once


@given(st.lists(st.text()))
def test_what_follows_two_dashes_is_left_alone(arguments):
    assert respell(["--", *arguments], {}) == (["--", *arguments] if arguments else [])


def test_the_line_that_every_kcptun_guide_shows():
    line = "-r 10.0.0.1:4000 -l :8388 -mode fast2 -mtu 1400 -sndwnd=2048 --rcvwnd=2048 -nocomp -ds 5 --ps 2"
    settings = parse(f"client {line}")
    assert settings.remoteaddr == Address("10.0.0.1", 4000)
    assert settings.localaddr == Address("", 8388)
    assert (settings.mode, settings.mtu, settings.sndwnd, settings.rcvwnd) == ("fast2", 1400, 2048, 2048)
    assert (settings.nocomp, settings.datashard, settings.parityshard) == (True, 5, 2)


def test_a_switch_takes_a_value_after_an_equals_sign_and_the_last_one_counts():
    assert parse("client --nocomp=false").nocomp is False
    assert parse("client -nocomp -nocomp=0").nocomp is False
    assert parse("client -nocomp=F --nocomp=T").nocomp is True


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("client --mtuu 1400", "no option --mtuu; did you mean --mtu?"),
        ("client -sndwind 9", "no option -sndwind; did you mean --sndwnd?"),
        ("client -l:80", "no option -l:80; did you mean -l :80?"),
        ("client -t 1.2.3.4:80", "no option -t; --help explains every option"),
        ("client --mtu", "--mtu: give a value after it; --help explains every option"),
        ("client --mtu 1501", "--mtu 1501: give a whole number from 100 to 1500 bytes"),
        ("client --mtu 99", "--mtu 99: give a whole number from 100 to 1500 bytes"),
        ("client --mtu 1e3", "--mtu 1e3: give a whole number from 100 to 1500 bytes"),
        ("client --sndwnd 0", "--sndwnd 0: give a whole number from 1 to 65535 packets"),
        ("server --rcvwnd 65536", "--rcvwnd 65536: give a whole number from 1 to 65535 packets"),
        ("client -ds -1", "--datashard -1: give a whole number from 0 to 255 packets"),
        (
            "client -ds 200 -ps 57",
            "--datashard 200 --parityshard 57: give two numbers that add up to 256 at most",
        ),
        ("client --smuxver 3", "--smuxver 3: give 1 or 2"),
        ("client --keepalive 30", "--keepalive 30: give a whole number from 1 to 29 seconds"),
        ("client --framesize 65536", "--framesize 65536: give a whole number from 1 to 65535 bytes"),
        (
            "client --smuxbuf 1000000",
            "--streambuf 2097152: give at most what --smuxbuf is (1000000 bytes)",
        ),
        ("client --mode turbo", "--mode turbo: give one of normal, fast, fast2, fast3, manual, default"),
        ("client --crypt rot13", f"--crypt rot13: give one of {', '.join(cipherNames())} (no cipher called 'rot13' is installed)"),
        ("client --key=", "--key '': give at least one character"),
        ("client --nocomp=maybe", "--nocomp maybe: give true or false, or leave the value out for true"),
        (
            "client -r vps:3010-3000",
            "--remoteaddr vps:3010-3000: give the lower port of the range first, as in 3000-3010",
        ),
        ("client -l :3000-3010", "--localaddr :3000-3010: give one port; there is no use for a range here"),
        (
            "server -t a..b:80",
            "--target a..b:80: give a host whose parts, between its dots, have 1 to 63 characters",
        ),
        (
            "client -r vps",
            "--remoteaddr vps: give host and port, as in example.org:29900",
        ),
        ("client --dscp 64", "--dscp 64: give a whole number from 0 to 63"),
        ("client --tcp", "--tcp true: leave it out: kcpstack sends UDP only"),
        ("client -c=", "-c '': give at least one character"),
        ("client start", "start: every option starts with a dash; --help explains every option"),
    ],
)
@pytest.mark.option("tcp")
def test_a_wrong_line_is_refused_with_one_line_that_says_what_would_do(line, says):
    assert refusal(line) == says


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_other_line_is_accepted_or_refused_and_nothing_else(arguments):
    options = ServerOptions()
    options.environ = {}
    try:
        options.parseOptions([word for word in arguments if word.lstrip("-")[:1] not in ("h", "v")])
    except usage.UsageError as error:
        assert len(str(error).splitlines()) == 1


def test_both_ends_of_a_range_are_in_it():
    for low, high in [(0, 1), (1, 65535), (100, 1500)]:
        kind = WholeNumber(low, high)
        assert (kind.parse(str(low)), kind.parse(str(high))) == (low, high)
        for outside in (low - 1, high + 1):
            with pytest.raises(ValueError, match="give"):
                kind.parse(str(outside))


@given(st.text())
def test_a_value_is_parsed_or_refused_with_a_sentence(text):
    for kind in (WholeNumber(0, 9), YesOrNo(), ListenAddress(), DialAddress(), TargetAddress()):
        try:
            kind.parse(text)
        except ValueError as error:
            assert str(error).startswith("give ")


# ------------------------------------------------------------------ addresses

hosts = st.sampled_from(["example.org", "127.0.0.1", "::1", "fe80::1%eth0", "a-b"])


@given(hosts, st.integers(1, 65535))
def test_an_address_is_parsed_back_from_how_it_is_shown(host, port):
    for kind in (ListenAddress(), DialAddress(), TargetAddress(), ListenAddress(paths=True, ranges=True)):
        assert kind.parse(str(Address(host, port))) == Address(host, port)


@given(hosts, st.integers(1, 65534), st.integers(1, 65535))
def test_a_range_of_ports_is_parsed_back_and_has_both_its_ends(host, first, last):
    address = Address(host, min(first, last), max(first, last))
    for kind in (ListenAddress(ranges=True), DialAddress(ranges=True)):
        parsed = kind.parse(f"{Address(host, address.port)}-{address.last}")
        assert (parsed.ports[0], parsed.ports[-1]) == (address.port, address.last)
        assert kind.parse(str(parsed)) == parsed


def test_an_empty_host_is_every_interface_to_listen_on_and_this_machine_to_connect_to():
    assert ListenAddress().parse(":29900") == Address("", 29900)
    assert DialAddress().parse(":29900") == Address("127.0.0.1", 29900)


def test_the_system_may_choose_a_port_to_listen_on_but_none_to_connect_to():
    assert ListenAddress().parse("127.0.0.1:0").port == 0
    with pytest.raises(ValueError, match="from 1 to 65535"):
        DialAddress().parse("127.0.0.1:0")


@pytest.mark.parametrize("text", ["/run/app.sock", "./app.sock", "../app.sock", "path/to/app.sock"])
def test_a_path_is_a_unix_socket(text):
    assert TargetAddress().parse(text) == UnixAddress(text)
    assert TargetAddress().parse(f"unix:{text}") == UnixAddress(text)
    assert TargetAddress().parse(str(UnixAddress(text))) == UnixAddress(text)


@pytest.mark.parametrize("text", ["::1:29900", "[::1:29900", "::1]:29900", "[example.org]:1", "fe80::1"])
def test_an_ipv6_address_needs_its_brackets(text):
    with pytest.raises(ValueError, match=r"as in \[::1\]:29900"):
        DialAddress().parse(text)


# ------------------------------------------------------------------ help, and the process


@pytest.mark.parametrize("role", ROLES)
def test_the_help_has_every_option_with_its_default(role):
    text = " ".join(str(ROLES[role]()).split())
    for option in optionsOf(role):
        default = option.default[role] if isinstance(option.default, dict) else option.default
        shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else str(default)
        assert f"--{option.name}" in text
        assert f"{option.help} (default {shown}" in text, option.name


@pytest.mark.parametrize("role", ROLES)
def test_no_line_of_the_help_is_wider_than_the_terminal_it_is_made_for(role):
    for width in (60, 80, 100):
        assert max(map(len, ROLES[role]().getUsage(width).splitlines()[6:])) <= width


KCPTUN = ["-m", "kcpstack"]
TWISTD = ["-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=", "kcptun"]


def command(program: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a process with this command line printed, and its exit status."""
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True, check=False, cwd="/", env=environ, text=True, timeout=MINUTE,
    )  # fmt: skip


@pytest.mark.parametrize("program", [KCPTUN, TWISTD], ids=["kcptun", "twistd"])
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["client", "--smuxver", "9"], "kcptun client: --smuxver 9: give 1 or 2"),
        (["client", "--mtuu", "9"], "kcptun client: no option --mtuu; did you mean --mtu?"),
        (["-mtu", "9"], "kcptun: no option -mtu; say client, server or layers first; kcptun --help explains them"),
        ([], "kcptun: say client, server or layers first; kcptun --help explains them"),
        (["relay"], "kcptun: relay: say client, server or layers first; kcptun --help explains them"),
    ],
)
def test_a_wrong_command_line_ends_the_process_with_that_line_alone(program, arguments, says):
    done = command(program, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{says}\n")


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(socket.SOCK_STREAM, ["client", "-r", "127.0.0.1:1"]), (socket.SOCK_DGRAM, ["server"])],
    ids=["client", "server"],
)
def test_an_address_in_use_ends_the_process_with_one_line_on_standard_error(kind, arguments):
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        where = "{}:{}".format(*taken.getsockname())
        done = command(KCPTUN, *arguments, "-l", where)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    option = {"client": "--localaddr", "server": "--listen"}[arguments[0]]
    assert line.startswith(f"kcptun: {option} {where}: Address already in use: ")


def test_a_unix_socket_without_a_directory_ends_the_process_with_one_line():
    done = command(KCPTUN, "client", "-l", "/nowhere/at/all/socket")
    assert done.returncode == 1
    assert done.stderr == (
        "kcptun: --localaddr unix:/nowhere/at/all/socket: No such file or directory: make the directory first\n"
    )


@pytest.mark.parametrize("arguments", [["--help"], ["server", "--help"], ["client", "--explain"], ["--version"]])
def test_whoever_stops_reading_what_is_printed_sees_no_error(arguments):
    unread, output = os.pipe()
    os.close(unread)
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        [sys.executable, *KCPTUN, *arguments],
        check=False, cwd="/", env=environ, stdout=output, stderr=subprocess.PIPE, timeout=MINUTE,
    )  # fmt: skip
    os.close(output)
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_and_version_go_to_standard_output():
    for arguments in (["--help"], ["-h"], ["-help"]):
        done = command(KCPTUN, *arguments)
        assert done.returncode == 0
        assert done.stdout.rstrip() == str(Options()).rstrip()
    done = command(KCPTUN, "client", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip() == str(ClientOptions()).rstrip()
    done = command(KCPTUN, "--version")
    assert re.fullmatch(r"kcpstack [\d.]+ \(Twisted [\d.]+\)\n", done.stdout)
