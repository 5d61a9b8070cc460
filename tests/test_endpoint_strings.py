"""kcp: in Twisted's endpoint strings: what each keyword becomes, and one clear line where that cannot be."""

from __future__ import annotations

import pytest
from twisted.internet import reactor
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString

from kcpstack.endpointoptions import OWN, keywordsOf
from kcpstack.endpoints import KCPClientEndpoint, KCPServerEndpoint
from kcpstack.endpointstrings import ClientParser, ServerParser
from kcpstack.options import Address, ClientSettings, Option, ServerSettings, optionsOf
from kcpstack.options.table import ADDRESSES, CLIENT, CONFIGURATION, MESSAGES, PROCESSES, SERVER
from kcpstack.options.values import YesOrNo

ROLES = {CLIENT: "kcp:vps:29900", SERVER: "kcp:29900"}


def endpointOf(role: str, text: str):
    return clientFromString(reactor, text) if role == CLIENT else serverFromString(reactor, text)


def settingsOf(role: str, text: str):
    return endpointOf(role, text).settings


def refusal(role: str, text: str) -> str:
    with pytest.raises(ValueError) as raised:
        endpointOf(role, text)
    line = str(raised.value)
    assert "\n" not in line
    return line


# ------------------------------------------------------------------ addresses


def test_a_server_string_names_its_port_first() -> None:
    endpoint = serverFromString(reactor, "kcp:29900:key=k:interface=127.0.0.1")
    assert isinstance(endpoint, KCPServerEndpoint)
    assert endpoint.settings.listen == Address("127.0.0.1", 29900)
    assert settingsOf(SERVER, "kcp:port=29900:key=k").listen == Address("", 29900)


def test_a_client_string_names_host_and_port_first_or_by_keyword() -> None:
    endpoint = clientFromString(reactor, "kcp:vps.example.org:29900:key=k")
    assert isinstance(endpoint, KCPClientEndpoint)
    for text in ("kcp:vps.example.org:29900", "kcp:host=vps.example.org:port=29900", "kcp:vps.example.org:port=29900"):
        assert settingsOf(CLIENT, text).remoteaddr == Address("vps.example.org", 29900)


@pytest.mark.parametrize("role", ROLES)
def test_a_range_of_ports_will_do(role: str) -> None:
    text = ROLES[role].replace("29900", "3000-3010")
    settings = settingsOf(role, text)
    assert list((settings.remoteaddr if role == CLIENT else settings.listen).ports) == list(range(3000, 3011))


def test_ipv6_is_quoted_as_in_all_of_twisteds_strings() -> None:
    assert settingsOf(SERVER, r"kcp:29900:interface=\:\:1").listen == Address("::1", 29900)
    quoted = quoteStringArgument("2001:db8::1")
    assert settingsOf(CLIENT, f"kcp:{quoted}:29900").remoteaddr == Address("2001:db8::1", 29900)


# ------------------------------------------------------------------ the options


def other(option: Option, role: str) -> str:
    """A text for another value than the default."""
    default = option.defaultFor(role)
    if isinstance(option.kind, YesOrNo):
        return "no" if default else "yes"
    if option.kind.takes is int:
        return str(option.kind.low if default != option.kind.low else option.kind.low + 1)
    if hasattr(option.kind, "names"):
        return next(name for name in reversed(option.kind.names()) if name != default)
    catalogue = getattr(option.kind, "catalogue", None)
    return "another" if catalogue is None else next(iter({*catalogue.names()} - {default}), default)


ROWS = [(role, option) for role in ROLES for option in keywordsOf(role)]


@pytest.mark.parametrize(("role", "option"), ROWS, ids=[f"{role}-{option.name}" for role, option in ROWS])
def test_every_option_of_the_stack_is_a_keyword_read_by_its_kind(role: str, option: Option) -> None:
    text = other(option, role)
    companions = {
        "smuxbuf": "streambuf=4096", "erasure": "", "mtu": "crypt=none:datashard=0",
        "conn": "mux=yes", "autoexpire": "mux=yes", "scavengettl": "mux=yes",
        "nodelay": "mode=manual", "interval": "mode=manual", "resend": "mode=manual", "nc": "mode=manual",
    }.get(option.name, "")  # fmt: skip
    for name in (option.name, *option.aliases):
        string = ":".join(filter(None, (ROLES[role], f"{name}={text}", companions)))
        parsed = True if text == "yes" else option.kind.parse(text)
        assert getattr(settingsOf(role, string), option.name) == parsed


@pytest.mark.parametrize("role", ROLES)
def test_what_is_not_given_is_the_tables_default(role: str) -> None:
    plain = {CLIENT: ClientSettings, SERVER: ServerSettings}[role]()
    settings = settingsOf(role, ROLES[role])
    for option in keywordsOf(role):
        expected = 0 if option.name == "closewait" else getattr(plain, option.name)
        assert getattr(settings, option.name) == expected, option.name


@pytest.mark.parametrize("role", ROLES)
def test_values_will_do_as_well_as_texts_in_code(role: str) -> None:
    def build(**options):
        return KCPClientEndpoint(reactor, "vps", 1, **options) if role == CLIENT else KCPServerEndpoint(reactor, 1, **options)

    given = {"mtu": 1200, "nocomp": True, "crypt": "salsa20", "datashard": 0}
    assert build(**given).settings == build(**{name: str(value) for name, value in given.items()}).settings
    for wrong in ({"mtu": True}, {"mtu": 1200.5}, {"crypt": 7}, {"nocomp": 2}, {"key": b"k"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            build(**wrong)


def test_a_secret_may_come_from_the_environment_but_the_string_comes_first() -> None:
    environ = {"KCPTUN_KEY": "of the environment"}
    server, client = ServerParser(environ), ClientParser(environ)
    assert server.parseStreamServer(reactor, "29900").settings.key == "of the environment"
    assert client.parseStreamClient(reactor, "vps", "29900").settings.key == "of the environment"
    assert client.parseStreamClient(reactor, "vps", "29900", key="mine").settings.key == "mine"


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("role", "rest", "said"),
    [
        (SERVER, ":kye=1", "kye: no such keyword; did you mean key?"),
        (SERVER, ":qpp=yes", "qpp: no such keyword; did you mean QPP?"),
        (CLIENT, ":timout=1", "timout: no such keyword; did you mean timeout?"),
        (SERVER, ":zzz=1", "zzz: no such keyword"),
        (SERVER, ":mtu=9000", "mtu=9000: give a whole number from 100 to 1500 bytes"),
        (SERVER, ":nocomp=maybe", "nocomp=maybe: give yes or no"),
        (CLIENT, ":mux=2", "mux=2: give yes or no"),
        (CLIENT, ":crypt=rot13", "crypt=rot13: give one of 3des, aes,"),
        (CLIENT, ":key=", "key=: give at least one character"),
        (CLIENT, ":timeout=soon", "timeout=soon: give a whole number from 1 to 86400 seconds"),
        (CLIENT, ":timeout=0", "timeout=0: give a whole number"),
        (SERVER, ":conn=4", "conn: only a client's endpoint has that"),
        (SERVER, ":timeout=4", "timeout: only a client's endpoint has that"),
        (CLIENT, ":interface=127.0.0.1", "interface: only a server's endpoint has that"),
        (CLIENT, ":conn=4", "conn=4: say mux=yes too"),
        (CLIENT, ":autoexpire=4:mux=no", "autoexpire=4: say mux=yes too"),
        (SERVER, ":listen=29901", "listen: give the address by port and interface"),
        (SERVER, ":target=x", "target: give the address by port and interface"),
        (CLIENT, ":remoteaddr=x", "remoteaddr: give the address by host and port"),
        (CLIENT, ":c=file.json", "c: that is an option of the command kcptun"),
        (CLIENT, ":log=x", "log: that is an option of the command kcptun"),
        (SERVER, ":snmplog=x", "snmplog: that is an option of the command kcptun"),
        (SERVER, ":pprof=yes", "pprof: that is an option of the command kcptun"),
        (SERVER, ":nocomp", "there is a word without a name: give what follows port as keyword=value"),
        (SERVER, ":ds=3:datashard=3", "datashard is given already; give it once"),
        (SERVER, ":port=3", "port=3: it is given already, without its name"),
        (SERVER, ":streambuf=8388608", "streambuf 8388608: give at most what smuxbuf is"),
        (SERVER, ":datashard=200:parityshard=100", "datashard 200 parityshard 100: give two numbers that add up to 256"),
        (SERVER, ":randomBytes=4", "randomBytes: no such keyword"),
        (SERVER, ":reactor=4", "reactor: no such keyword"),
        (CLIENT, ":resolveName=4", "resolveName: no such keyword"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(role: str, rest: str, said: str) -> None:
    assert said in refusal(role, ROLES[role] + rest)


@pytest.mark.parametrize(
    ("role", "text", "said"),
    [
        (SERVER, "kcp:", "port: give a UDP port"),
        (SERVER, "kcp:key=k", "port: give a UDP port"),
        (SERVER, "kcp:http", "port=http: give a port from 0 to 65535, or a range"),
        (SERVER, "kcp:70000", "port=70000: give a port from 0 to 65535"),
        (SERVER, "kcp:20-10", "port=20-10: give the lower port of the range first"),
        (CLIENT, "kcp:vps", "port: give the server's UDP port"),
        (CLIENT, "kcp:port=1", "host: give the server's name"),
        (CLIENT, "kcp:vps:0", "port=0: give a port from 1 to 65535"),
        (CLIENT, "kcp:a..b:1", "host a..b: give a host whose parts"),
    ],
)
def test_addresses_that_cannot_be_are_refused_in_one_line(role: str, text: str, said: str) -> None:
    assert said in refusal(role, text)


def test_a_secret_is_never_shown() -> None:
    assert "hush" not in refusal(SERVER, "kcp:29900:kye=hush")
    for role, text in ROLES.items():
        assert "hush" not in refusal(role, f"{text}:key=with a colon:hush")
    made = serverFromString(reactor, "kcp:29900:key=hush")
    assert "hush" not in repr(made.settings) and made.settings.key == "hush"


def test_every_row_of_the_table_is_a_keyword_or_refused_with_a_reason() -> None:
    for role, text in ROLES.items():
        keywords = keywordsOf(role)
        for option in optionsOf(role):
            if option in keywords:
                continue
            assert option.group in (ADDRESSES, CONFIGURATION, PROCESSES, MESSAGES)
            assert "no such keyword" not in refusal(role, f"{text}:{option.name}=1")
        assert not {option.name for option in keywords} & set(OWN[role])
