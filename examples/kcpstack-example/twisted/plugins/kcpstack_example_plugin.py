"""What kcpstack finds of this package: an instance of each factory, by any name in this module."""

from kcpstack_example.aead import ChaChaFactory
from kcpstack_example.aimd import HalvingFactory
from kcpstack_example.deflate import DeflateFactory
from kcpstack_example.echo import EchoTarget
from kcpstack_example.erasure import ReedSoloFactory
from kcpstack_example.hopping import HopFactory

chacha = ChaChaFactory()
reedsolo = ReedSoloFactory()
deflate = DeflateFactory()
halving = HalvingFactory()
hop = HopFactory()
echo = EchoTarget()
