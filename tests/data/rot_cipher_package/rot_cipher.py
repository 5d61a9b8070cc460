from zlib import crc32

from zope.interface import implementer

from kcpstack.interfaces import ICipherFactory, IPacketCipher


@implementer(IPacketCipher)
class RotCipher:
    overhead = 4

    def __init__(self, shift):
        self.up = bytes((byte + shift) % 256 for byte in range(256))
        self.down = bytes((byte - shift) % 256 for byte in range(256))

    def seal(self, datagram):
        return (crc32(datagram).to_bytes(4, "big") + datagram).translate(self.up)

    def open(self, datagram):
        plain = bytes(datagram).translate(self.down)
        return plain[4:] if plain[:4] == crc32(plain[4:]).to_bytes(4, "big") else None


@implementer(ICipherFactory)
class RotFactory:
    name = "rot"

    def build(self, key, randomBytes):
        return RotCipher(key[0])
