"""A port that refuses all of a peer's datagrams finds out why, says it once, and costs nothing otherwise."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import vectorfiles
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from zope.interface import implementer

from kcpstack import ciphers, cryptcheck
from kcpstack.batch import inboundBatch, outboundBatch
from kcpstack.counters import Counters
from kcpstack.cryptcheck import EXAMINATION_PAUSE, REFUSED_MIN, SUSPECTS_MAX, SUSPICION
from kcpstack.interfaces import IBatchCipher
from kcpstack.kernels.segment import HEADER, PUSH
from kcpstack.lograte import RARE_LINES, RARE_PERIOD
from kcpstack.options import ServerSettings
from kcpstack.stack import Port, Surroundings
from kcpstack.testing.network import SimulatedNetwork

DEFAULT_KEY = "it's a secrect"
PEER = ("192.0.2.7", 41000)
RANDOM = random.Random(1).randbytes


class Heard:
    """A server's port, datagrams thrown at it, and the lines that this causes."""

    def __init__(self, **options):
        self.clock = Clock()
        self.counters = Counters()
        self.opened: list[bytes] = []
        self.lines: list[str] = []
        transport = SimulatedNetwork(self.clock, 1).transport(("10.0.0.1", 29900))
        self.port = Port(transport, ServerSettings(**options), Surroundings(self.clock, self.counters, RANDOM))
        self.port.received = lambda batch: self.opened.extend(map(bytes, batch))

    def hear(self, *datagrams, address=PEER, pause=0.1):
        """Datagrams that arrive one after the other."""
        for datagram in datagrams:
            self.hearAtOnce([datagram], [address])
            self.rest(pause)

    def hearAtOnce(self, datagrams, addresses):
        self.port.datagramsReceived(inboundBatch(datagrams, addresses))

    def rest(self, seconds):
        self.clock.advance(0)
        self.clock.advance(seconds)
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def note(self, event):
        if event.get("log_namespace", "").startswith("kcpstack"):
            self.lines.append(formatEvent(event))


@pytest.fixture
def port(request):
    """Makes ports that note what is logged."""
    made = []

    def make(**options):
        made.append(Heard(**options))
        globalLogPublisher.addObserver(made[-1].note)
        return made[-1]

    yield make
    for each in made:
        globalLogPublisher.removeObserver(each.note)


def sealed(count, crypt="aes", key="ours", body=None):
    """What a peer sends: a segment each."""
    cipher = ciphers.batchCipher(ciphers.findCipher(crypt).build(ciphers.derivePass(key), RANDOM))
    batch = outboundBatch(1500, cipher.overhead)
    for number in range(count):
        data = random.Random(number).randbytes(300)
        batch.append(body or HEADER.pack(0xC0FFEE01, PUSH, 0, 128, 1, number, 0, len(data)) + data)
    cipher.sealBatch(batch)
    return [bytes(datagram) for datagram in batch]


def garbage(count, length=400):
    return [random.Random(number).randbytes(length) for number in range(count)]


# ------------------------------------------------------------------ what it finds


@pytest.mark.parametrize("theirs", [name for name in ciphers.cipherNames() if name != "aes"])
def test_another_crypt_under_our_key_is_named(port, theirs):
    it = port(crypt="aes", key="ours")
    it.hear(*sealed(10, theirs))
    assert it.lines == [
        f"Datagrams from 192.0.2.7:41000 open with --crypt {theirs}, not aes: give both ends the same --crypt"
    ]
    assert it.opened == []


@pytest.mark.parametrize("name", [name for name in vectorfiles.names() if "xor" not in name])
def test_what_go_peers_sent_is_recognised(port, name):
    vector = vectorfiles.load(name)
    it = port(crypt="xor", key=vector["key"])
    it.hear(*[bytes.fromhex(datagram["hex"]) for datagram in vector["datagrams"] if datagram["dir"] == "up"][:12])
    assert it.lines == [
        f"Datagrams from 192.0.2.7:41000 open with --crypt {vector['crypt']}, not xor: give both ends the same --crypt"
    ]


@pytest.mark.parametrize("ours", ["aes-128-gcm", "null"])
def test_an_old_kcptun_that_took_an_unknown_crypt_for_aes_is_named_as_the_cause(port, ours):
    it = port(crypt=ours, key="ours")
    it.hear(*sealed(10, "aes"))
    assert it.lines == [
        (f"Datagrams from 192.0.2.7:41000 open with --crypt aes, not {ours}: give both ends the same --crypt, one that "
        f"both know (an old kcptun, Debian's, takes a method that it does not know, like {ours}, for aes)")
    ]


@pytest.mark.parametrize("theirs,hint", [
    ("aes", "open with kcptun's default key: that end has no --key set, give it our --key"),
    ("salsa20", ("open with kcptun's default key and --crypt salsa20: that end has no --key set, "
                "give it our --key and --crypt aes")),
])
def test_an_end_that_was_never_given_a_key_is_recognised(port, theirs, hint):
    it = port(crypt="aes", key="ours")
    it.hear(*sealed(10, theirs, DEFAULT_KEY))
    assert it.lines == [f"Datagrams from 192.0.2.7:41000 {hint}"]


def test_another_key_is_said_to_be_unknown(port):
    it = port(crypt="aes", key="ours")
    it.hear(*sealed(10, "aes", "theirs"))
    assert it.lines == [
        ("Datagrams from 192.0.2.7:41000 open with no cipher known here under our --key: "
        "give both ends the same --key and --crypt (5 so far)")
    ]


def test_that_our_key_is_the_default_one_is_said_besides(port):
    it = port(crypt="aes")
    it.hear(*sealed(10, "aes", "theirs"))
    assert it.lines == [
        ("Datagrams from 192.0.2.7:41000 open with no cipher known here under our --key, which is kcptun's default "
        "one: give both ends the same --key and --crypt (5 so far)")
    ]


def test_a_whole_burst_at_once_is_looked_at_as_well(port):
    it = port(crypt="aes", key="ours")
    for _ in range(2):
        it.hearAtOnce(sealed(20, "xor"), [PEER] * 20)
        it.rest(0.1)
    assert len(it.lines) == 1 and "--crypt xor" in it.lines[0]


def test_one_sample_that_was_damaged_does_no_harm(port):
    it = port(crypt="aes", key="ours")
    datagrams = sealed(10, "xor")
    datagrams[1] = datagrams[1][:-1] + b"?"
    it.hear(*datagrams)
    assert len(it.lines) == 1 and "--crypt xor" in it.lines[0]


@implementer(IBatchCipher)
class Careless:
    """Breaks the contract of openBatch in the way that it is told."""

    overhead = 20

    def __init__(self, breakIt):
        self.openBatch = breakIt


@pytest.mark.parametrize("build", [
    lambda key, randomBytes: 1 / 0,
    lambda key, randomBytes: None,
    lambda key, randomBytes: Careless(lambda batch: 1 / 0),
    lambda key, randomBytes: Careless(lambda batch: batch.starts.append(99)),
    lambda key, randomBytes: Careless(lambda batch: batch.ends.clear()),
    lambda key, randomBytes: Careless(lambda batch: batch.starts.__setitem__(0, None)),
])
def test_a_cipher_of_somebody_elses_that_breaks_is_passed_over(port, monkeypatch, build):
    find, names = ciphers.findCipher, ciphers.cipherNames
    broken = SimpleNamespace(name="broken", build=build)
    monkeypatch.setattr(cryptcheck, "cipherNames", lambda: ["broken", *names()])
    monkeypatch.setattr(cryptcheck, "findCipher", lambda name: broken if name == "broken" else find(name))
    it = port(crypt="aes", key="ours")
    it.hear(*sealed(10, "xor"))
    assert "--crypt xor" in it.lines[-1]


# ------------------------------------------------------------------ what it does not fall for


@pytest.mark.parametrize("crypt", ["aes", "null", "none", "aes-128-gcm"])
def test_a_good_peer_causes_nothing(port, crypt):
    it = port(crypt=crypt, key="ours")
    it.hear(*sealed(50, crypt))
    assert it.lines == [] and len(it.opened) == 50
    assert not it.port._check.suspects


def test_damage_here_and_there_on_a_good_session_causes_nothing(port):
    it = port(crypt="aes", key="ours")
    damaged = random.Random(7)
    for datagram in sealed(3000):
        bad = damaged.random() < 0.05
        it.hear(datagram[:-1] + bytes([datagram[-1] ^ 1]) if bad else datagram, pause=0.001)
    assert it.counters.InCsumErrors > 100
    assert it.lines == []


def test_single_datagrams_of_scanners_cause_nothing(port):
    it = port(crypt="aes", key="ours")
    for number, datagram in enumerate(garbage(300)):
        it.hear(datagram, address=(f"198.51.100.{number % 250}", number), pause=0.05)
    assert it.lines == []


def test_datagrams_that_come_once_an_hour_are_not_added_up(port):
    it = port(crypt="aes", key="ours")
    it.hear(*garbage(50), pause=SUSPICION)
    assert it.lines == []


def test_random_bytes_are_never_taken_for_a_cipher_without_a_checksum(port):
    it = port(crypt="aes", key="ours")
    for number in range(60):
        it.hear(*garbage(7, 24 + number), pause=RARE_PERIOD / 20)
        it.hear(*garbage(7, 24 + number))
    assert it.lines and all("no cipher" in line for line in it.lines)


@given(st.lists(st.binary(max_size=80), max_size=40))
@hypothesis(max_examples=15, deadline=None)
def test_whatever_arrives_nothing_is_raised(datagrams):
    for crypt in ("aes", "null"):
        it = Heard(crypt=crypt)
        it.hear(*datagrams, pause=0.3)
        it.hearAtOnce(datagrams, [PEER] * len(datagrams))
        it.rest(1)


# ------------------------------------------------------------------ at what price


def test_the_same_is_said_of_a_host_once_in_ten_minutes(port):
    it = port(crypt="aes", key="ours")
    for number in range(100):
        it.hear(*sealed(7, "xor"), address=("192.0.2.7", 41000 + number), pause=0.5)
    assert len(it.lines) == 1
    it.rest(RARE_PERIOD)
    it.hear(*sealed(7, "xor"))
    assert len(it.lines) == 2


def test_something_else_of_the_same_host_is_said_at_once(port):
    it = port(crypt="aes", key="ours")
    it.hear(*sealed(7, "xor"), pause=0.5)
    it.hear(*sealed(7, "aes", DEFAULT_KEY), pause=0.5)
    assert len(it.lines) == 2 and "default key" in it.lines[1]


def test_a_second_peer_is_looked_at_while_the_first_is_loud(port):
    it = port(crypt="aes", key="ours")
    for xor, salsa in zip(sealed(20, "xor"), sealed(20, "salsa20")):
        it.hear(xor, xor, xor, pause=0.1)
        it.hear(salsa, address=("192.0.2.8", 41000), pause=0.1)
    assert [line.split()[2] for line in it.lines] == ["192.0.2.7:41000", "192.0.2.8:41000"]


def test_a_million_addresses_cost_no_memory_and_few_lines(port):
    it = port(crypt="aes", key="ours")
    for number in range(300):
        host = (f"10.{number // 200}.{number % 200}.1", 1)
        it.hearAtOnce(garbage(20), [host] * 20)
        it.hearAtOnce(garbage(20), [host] * 20)
        it.rest(EXAMINATION_PAUSE)
        assert len(it.port._check.suspects) <= SUSPECTS_MAX
    assert len(it.lines) == RARE_LINES
    assert it.lines[-1].endswith("(enough of such lines for 10 minutes)")
    assert it.port._check.suspects == {}  # nothing more may be said, so nothing more is looked at


def test_strangers_do_not_silence_what_is_found_out_about_peers(port):
    it = port(crypt="aes", key="ours")
    for number in range(2 * RARE_LINES):
        it.hearAtOnce(garbage(20), [(f"10.0.{number}.1", 1)] * 20)
        it.hearAtOnce(garbage(20), [(f"10.0.{number}.1", 1)] * 20)
        it.rest(EXAMINATION_PAUSE)
    it.port.around.findings.warn("something else", "The path of a peer is broken")
    assert it.lines[-1] == "The path of a peer is broken"


def test_datagrams_that_no_peer_would_send_are_not_kept(port):
    it = port(crypt="aes", key="ours")
    it.hear(*garbage(20, 60_000))
    assert it.lines == []
    assert all(not suspect.samples for suspect in it.port._check.suspects.values())


def test_no_more_than_one_peer_is_examined_a_second(port):
    it = port(crypt="aes", key="ours")
    for number in range(50):
        hosts = [(f"192.0.2.{number}", 41000)] * 20
        it.hearAtOnce(garbage(20), hosts)
        it.hearAtOnce(garbage(20), hosts)
        it.rest(EXAMINATION_PAUSE / 10)
    assert 4 <= len(it.lines) <= 6


def test_a_suspect_needs_this_many_datagrams(port):
    it = port(crypt="aes", key="ours")
    it.hear(*sealed(REFUSED_MIN - 1, "xor"))
    assert it.lines == []
    it.hear(*sealed(1, "xor"))
    assert len(it.lines) == 1
