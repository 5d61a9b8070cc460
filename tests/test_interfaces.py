"""Every seam has a contract in words, and a provider of ours that keeps its shape."""

from __future__ import annotations

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from zope.interface import Attribute, implementer
from zope.interface.verify import verifyObject

from kcpstack import builtin, interfaces
from kcpstack.ciphers import batchCipher, derivePass, findCipher
from kcpstack.counters import Counters
from kcpstack.kernels.arq import ARQ, Tuning
from kcpstack.kernels.congestion import FixedWindow, SlowStart
from kcpstack.kernels.reedsolomon import ReedSolomon
from kcpstack.layers.datagram import UDPTransport
from kcpstack.layers.snappy import CompressedTransport, SnappyCodec
from kcpstack.options import ClientSettings
from kcpstack.stack import Conversation, Port, Surroundings, buildMux
from kcpstack.testing.network import SimulatedNetwork

INTERFACES = [getattr(interfaces, name) for name in interfaces.__all__]


def providers() -> list:
    """One of everything that the stack is made of."""
    clock = Clock()
    around = Surroundings(clock, Counters(), bytes)
    network = SimulatedNetwork(clock, 1)
    port = Port(network.transport(peer=("10.0.0.1", 1)), ClientSettings(), around)
    port.open()
    conversation = Conversation(port, 7, None, False, lambda over: None)
    mux = buildMux(conversation, ClientSettings(), around)
    cipher = batchCipher(findCipher("aes").build(derivePass("key"), bytes))
    arq = ARQ(1, 1000, Tuning(), FixedWindow(1), Counters())
    return [
        *(port, port.transport, UDPTransport(None, Counters()), findCipher("aes"), cipher, ReedSolomon(3, 2)),
        *(arq, FixedWindow(1), SlowStart(1), SnappyCodec(), conversation.session),
        *(builtin.snappy, builtin.fixed, builtin.reedsolomon, builtin.udp, builtin.connect),
        *(CompressedTransport(mux, Counters()), mux.openStream(Protocol()), PacketCipher()),
    ]


@implementer(interfaces.IPacketCipher)
class PacketCipher:
    """The least that a cipher can be."""

    overhead = 0

    def seal(self, datagram):
        return bytes(datagram)

    def open(self, datagram):
        return bytes(datagram)


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.__name__)
def test_hasAContractInWordsForItselfAndEveryMember(interface):
    assert interface.__doc__
    for name, member in interface.namesAndDescriptions(all=False):
        assert member.__doc__ and len(member.__doc__) > 10, f"{interface.__name__}.{name} says nothing"
        assert isinstance(member, Attribute)


@pytest.mark.parametrize("interface", INTERFACES, ids=lambda interface: interface.__name__)
def test_hasProvidersThatKeepItsShape(interface):
    ours = [provider for provider in providers() if interface.providedBy(provider)]
    assert ours
    for provider in ours:
        assert verifyObject(interface, provider)
