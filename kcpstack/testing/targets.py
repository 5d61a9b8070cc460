"""The conformance suite of relay targets, for any IRelayTarget.

Mix it in and name your target, with arguments that it takes and arguments that it does not; pytest needs nothing
else, unittest and trial want TestCase too::

    class TestMine(RelayTargetConformance):
        target = mine
        goodArguments = ("example.org:80",)
        badArguments = ("", "nonsense")

No connection is made: a MemoryReactorClock stands for the reactor.  There is no chance in it.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from kcpstack.interfaces import IRelayTarget
from kcpstack.testing.checks import check, checkFactory, checkRaisesOnly

__all__ = ["RelayTargetConformance"]

NONSENSE = ("", ":", "::", "a:b:c:d", "\0", "\n", " ", "=", ":=", "\\", "\ud800", "é:1", "x" * 5000, "[", "1:99999999")


class RelayTargetConformance:
    """What the relay relies on, one test for each promise of IRelayTarget."""

    target: IRelayTarget
    """The one to test: each suite is given it."""

    goodArguments: Sequence[str] = ("",)
    """Arguments that it takes."""

    badArguments: Sequence[str] = ()
    """Arguments that it refuses; empty where it takes any text."""

    connects: bool = True
    """Whether an endpoint can be connected on a reactor that has no file descriptors (TCP, Unix sockets)."""

    def test_targetIsAsDeclared(self) -> None:
        checkFactory(IRelayTarget, self.target)

    def test_aGoodArgumentGivesAnEndpoint(self) -> None:
        check(self.goodArguments, "name at least one argument that it takes")
        for argument in self.goodArguments:
            verifyObject(IStreamClientEndpoint, self.target.endpoint(_newReactor(), argument))

    def test_askingConnectsToNobody(self) -> None:
        for argument in self.goodArguments:
            reactor = _newReactor()
            self.target.endpoint(reactor, argument)
            made = [*reactor.tcpClients, *reactor.unixClients, *reactor.sslClients, *reactor.getDelayedCalls()]
            check(not made, f"{argument!r}: something was begun before anybody connects: {made}")

    def test_oneEndpointConnectsMoreThanOnce(self) -> None:
        if not self.connects:
            return
        for argument in self.goodArguments:
            endpoint = self.target.endpoint(_newReactor(), argument)
            connecting = [endpoint.connect(Factory.forProtocol(Protocol)) for _ in range(2)]
            check(connecting[0] is not connecting[1], f"{argument!r}: two streams share one connection")
            _abandon(connecting)

    def test_connectingCanBeCancelled(self) -> None:
        if not self.connects:
            return
        for argument in self.goodArguments:
            endpoint = self.target.endpoint(_newReactor(), argument)
            connecting = endpoint.connect(Factory.forProtocol(Protocol))
            check(isinstance(connecting, Deferred), f"{argument!r}: connect returned {connecting!r}")
            failures = _abandon([connecting])
            check(len(failures) == 1, f"{argument!r}: a connection that was cancelled did not fail")

    def test_aBadArgumentIsRefusedWithALineThatHelps(self) -> None:
        for argument in self.badArguments:
            try:
                endpoint = self.target.endpoint(_newReactor(), argument)
            except ValueError as error:
                text = str(error)
                check(len(text) >= 8 and "\n" not in text, f"{argument!r} is refused with {text!r}")
            else:
                raise AssertionError(f"{argument!r} was taken for {endpoint!r}")

    def test_anyTextIsTakenOrRefused(self) -> None:
        chance = random.Random("nonsense")
        letters = string.printable + ":::===,,.//[]"
        random_ = ("".join(chance.choices(letters, k=chance.randint(1, 30))) for _ in range(300))
        mutilated = (good[:cut] + good[cut + 1 :] for good in self.goodArguments for cut in range(len(good)))
        for argument in (*NONSENSE, *random_, *mutilated):
            endpoint = checkRaisesOnly(
                (ValueError,),
                partial(self.target.endpoint, _newReactor(), argument),
                f"the argument {argument!r}",
            )
            check(
                endpoint is None or IStreamClientEndpoint.providedBy(endpoint),
                f"the argument {argument!r} gave {endpoint!r}",
            )

    def test_askingAgainGivesTheSameKind(self) -> None:
        for argument in self.goodArguments:
            kinds = {type(self.target.endpoint(_newReactor(), argument)) for _ in range(3)}
            check(len(kinds) == 1, f"{argument!r}: asked again, it gave another kind of endpoint")


_newReactor: Any = MemoryReactorClock


def _abandon(connecting: Sequence[Any]) -> list[Any]:
    """Cancel each; return the failures that came of it."""
    failures: list[Any] = []
    for deferred in connecting:
        deferred.addErrback(failures.append)
        deferred.cancel()
    return failures
