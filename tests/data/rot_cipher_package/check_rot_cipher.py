import unittest

from rot_cipher import RotFactory

from kcpstack.testing.ciphers import CipherConformance


class RotTests(CipherConformance, unittest.TestCase):
    factory = RotFactory()
