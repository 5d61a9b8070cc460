from twisted.application.service import ServiceMaker

from kcpstack.builtin import connect, endpoint, fixed, reedsolomon, slowstart, snappy, udp
from kcpstack.ciphers.builtin import (
    aes,
    aes128,
    aes128gcm,
    aes192,
    blowfish,
    cast5,
    none,
    null,
    salsa20,
    sm4,
    tea,
    tripleDES,
    twofish,
    xor,
    xtea,
)
from kcpstack.endpointstrings import ClientParser, ServerParser

kcptun = ServiceMaker("kcptun", "kcpstack.service", "A TCP tunnel over KCP: kcptun, in Twisted.", "kcptun")
kcpClient = ClientParser()
kcpServer = ServerParser()

__all__ = [
    "aes",
    "aes128",
    "aes128gcm",
    "aes192",
    "blowfish",
    "cast5",
    "connect",
    "endpoint",
    "fixed",
    "kcpClient",
    "kcpServer",
    "kcptun",
    "none",
    "null",
    "reedsolomon",
    "salsa20",
    "slowstart",
    "sm4",
    "snappy",
    "tea",
    "tripleDES",
    "twofish",
    "udp",
    "xor",
    "xtea",
]
