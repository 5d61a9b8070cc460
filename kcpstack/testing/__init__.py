"""For whoever writes a layer: what the project tests its own with, shipped so that you can use it.

- ``ciphers``  the conformance suite of the cipher seam

Needs nothing but the package itself and a runner of unittest-style tests.
"""
