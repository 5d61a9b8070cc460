from twisted.application.service import ServiceMaker

from kcpstack.ciphers.builtin import aes, aes128, aes192, none, null, xor

kcptun = ServiceMaker("kcptun", "kcpstack.service", "A TCP tunnel over KCP: kcptun, in Twisted.", "kcptun")

__all__ = ["aes", "aes128", "aes192", "kcptun", "none", "null", "xor"]
