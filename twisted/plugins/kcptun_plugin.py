from kcpstack.ciphers.builtin import aes, aes128, aes192, none, null, xor

__all__ = ["aes", "aes128", "aes192", "none", "null", "xor"]
