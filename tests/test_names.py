"""Names: what is an address already needs no resolver, and what is never answered fails in the end."""

from __future__ import annotations

import pytest
from twisted.internet import endpoints
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import DNSLookupError, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kcpstack.names import RESOLVE_TIMEOUT, resolveName, targetEndpoint
from kcpstack.options import Address, UnixAddress


class Reactor(Clock):
    """A clock with a resolver that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = self
        self.asked = []

    def resolveHostName(self, receiver, host, **semantics):
        self.asked.append(host)
        self.receiver = receiver

    def answer(self, *addresses) -> None:
        for address in addresses:
            self.receiver.addressResolved(address)
        self.receiver.resolutionComplete()


resultOf = SynchronousTestCase().successResultOf
failureOf = SynchronousTestCase().failureResultOf
SIX = IPv6Address("UDP", "2001:db8::1", 0)
FOUR = IPv4Address("UDP", "192.0.2.1", 0)


@pytest.mark.option("remoteaddr")
@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_an_address_is_its_own_answer_and_ipv4_in_ipv6_is_ipv4(host, address):
    reactor = Reactor()
    assert resultOf(resolveName(reactor, host)) == address
    assert reactor.asked == []


def test_of_a_name_the_first_ipv4_address_counts():
    reactor = Reactor()
    found = resolveName(reactor, "example.org")
    reactor.answer(SIX, FOUR)
    assert (reactor.asked, resultOf(found)) == (["example.org"], "192.0.2.1")


def test_a_name_without_an_address_fails():
    reactor = Reactor()
    found = resolveName(reactor, "example.org")
    reactor.answer()
    assert failureOf(found).check(DNSLookupError)


def test_a_resolver_that_never_answers_is_given_up_and_may_answer_afterwards():
    reactor = Reactor()
    found = resolveName(reactor, "example.org")
    reactor.advance(RESOLVE_TIMEOUT)
    assert failureOf(found, TimeoutError)
    reactor.answer(FOUR)


@pytest.mark.option("target")
@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (Address("192.0.2.1", 80), endpoints.TCP4ClientEndpoint),
        (Address("::ffff:192.0.2.1", 80), endpoints.TCP4ClientEndpoint),
        (Address("2001:db8::1", 80), endpoints.TCP6ClientEndpoint),
        (UnixAddress("/run/app"), endpoints.UNIXClientEndpoint),
    ],
)
def test_a_target_is_resolved_for_each_stream_only_where_it_is_a_name(target, kind):
    assert isinstance(targetEndpoint(Reactor(), target), kind)
