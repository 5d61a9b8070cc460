"""Every cipher that test_matrix.py does not have, with Debian's kcptun at the other end of bulk transfers.

aes-128-gcm, which Debian's kcptun has not, is tried between our own ends; what newer releases send with it
is in the vectors.  FEC is 10/3 and compression on, as they are by default.  One pair of processes each:
clean first, then through the bad link.

A Go sender now and then puts a wrong checksum on a packet with sm4 (a race in its library).  That is
one more lost packet to us, and FEC and KCP are there for those.
"""

from __future__ import annotations

import pytest
from peers import BAD, GO, OURS, Wire
from test_matrix import CRYPTS

from kcpstack.ciphers import builtin

WITH_GO = ("3des", "blowfish", "cast5", "salsa20", "sm4", "tea", "twofish", "xtea")
ONLY_OURS = ("aes-128-gcm",)
PAIRS = [
    (client, server, crypt)
    for client, server, crypts in (
        (OURS, GO, WITH_GO),
        (GO, OURS, WITH_GO),
        (OURS, OURS, (*WITH_GO, *ONLY_OURS)),
    )
    for crypt in crypts
    if crypt not in builtin.unavailable  # as in the help of --crypt: this machine's OpenSSL decides
]

BULK_BYTES = 2_000_000  # in each direction, one after the other
BAD_BYTES = 192 * 1024  # in both directions at once


@pytest.mark.parametrize("client,server,crypt", PAIRS, ids=["-".join(pair) for pair in PAIRS])
@pytest.mark.option("crypt")
def test_a_bulk_transfer_and_a_bad_link(tunnel, client, server, crypt):
    it = tunnel(client, server, Wire(crypt=crypt), seed=PAIRS.index((client, server, crypt)))
    it.transfer(upload=BULK_BYTES)
    it.transfer(download=BULK_BYTES)
    clean = it.link.tally()
    assert clean["forward"]["lost"] == clean["back"]["lost"] == 0
    it.link.set(**BAD)
    it.transfer(upload=BAD_BYTES // 4, download=BAD_BYTES // 4, streams=4)
    tally = it.link.tally()
    assert tally["forward"]["lost"] and tally["back"]["lost"]


def test_every_cipher_of_ours_meets_a_peer():
    factories = [each for each in vars(builtin).values() if isinstance(each, builtin.CipherFactory)]
    names = {factory.name for factory in factories} | set(builtin.unavailable)
    assert names == {*WITH_GO, *ONLY_OURS, *CRYPTS, "null"}
