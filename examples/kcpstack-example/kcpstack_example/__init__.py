"""Six layers for kcpstack from outside, one of each kind.

==================  ==========================================================
aead.py             the cipher ``chacha20-poly1305``
erasure.py          the erasure code ``reedsolo``
deflate.py          the compressor ``zlib``
aimd.py             the congestion control ``halving``
hopping.py          the datagram transport ``hop``
echo.py             the relay target ``@echo``
==================  ==========================================================

``twisted/plugins/kcpstack_example_plugin.py`` is where kcpstack finds them.
"""
