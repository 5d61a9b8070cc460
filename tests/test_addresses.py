"""Addresses in log lines have one form."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from kcpstack.addresses import shown


@pytest.mark.parametrize(
    ("address", "form"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        (("::ffff:10.0.0.1", 80, 0, 0), "10.0.0.1:80"),
        (IPv4Address("TCP", "127.0.0.1", 80), "127.0.0.1:80"),
        (IPv6Address("UDP", "::1", 80), "[::1]:80"),
        (UNIXAddress("/run/socket"), "/run/socket"),
        (UNIXAddress(None), "a Unix socket"),
        ("somewhere", "somewhere"),
    ],
)
def test_haveOneForm(address, form):
    assert shown(address) == form
