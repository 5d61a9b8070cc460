"""The blocks of a pcap-ng file, read back by a strict reader (that Wireshark reads them: interop/test_dissector.py)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pcapngfile import Packet, Statistics, items, tagsOf

from kcpstack.testing.pcapng import (
    UPPER_PDU,
    enhancedPacket,
    interfaceDescription,
    interfaceStatistics,
    sectionHeader,
    upperPDU,
)

HEAD = sectionHeader("kcpstack", "a comment") + interfaceDescription("client wire", UPPER_PDU, 1000, "sealed")
TAGS = upperPDU("data")


@given(
    data=st.binary(max_size=70),
    more=st.integers(0, 1000),
    time=st.integers(0, 2**64 - 1),
    outbound=st.sampled_from([None, True, False]),
    comment=st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_a_packet_is_read_back_as_it_was_seen(data, more, time, outbound, comment):
    packet = enhancedPacket(0, time, TAGS + data, len(TAGS) + len(data) + more, outbound, comment)
    expected = Packet("client wire", time, {12: b"data"}, data, more, outbound, comment)
    assert items(HEAD + packet + packet) == [expected, expected]


def test_each_packet_names_its_interface():
    file = HEAD + interfaceDescription("opened", UPPER_PDU, 1000) + enhancedPacket(1, 5, TAGS, len(TAGS))
    assert [packet.place for packet in items(file)] == ["opened"]


def test_statistics_tell_what_was_left_out():
    assert items(HEAD + interfaceStatistics(0, 2**40, 1000, 7)) == [Statistics("client wire", 1000, 7)]


def test_an_endless_comment_is_cut_to_what_an_option_holds():
    (packet,) = items(HEAD + enhancedPacket(0, 0, TAGS, len(TAGS), comment="c" * 100_000))
    assert packet.comment == "c" * 65_532


def test_the_tags_of_an_upper_pdu_say_between_whom_it_went_and_which_way():
    tags, rest = tagsOf(upperPDU("kcptun", ("10.0.0.1", 29900), ("2001:db8::1", 40000), True) + b"rest")
    assert rest == b"rest"
    assert tags == {
        12: b"kcptun\0\0",
        20: bytes([10, 0, 0, 1]),
        25: struct.pack(">I", 29900),
        23: bytes.fromhex("20010db8000000000000000000000001"),
        26: struct.pack(">I", 40000),
        24: struct.pack(">I", 3),
        35: struct.pack(">I", 0),
    }


def test_ends_that_are_not_known_are_not_made_up():
    assert tagsOf(upperPDU("data", destination=("10.0.0.1", 1)))[0].keys() == {12, 21, 26, 24}
    assert tagsOf(upperPDU("data"))[0].keys() == {12}


def test_a_host_that_is_not_numeric_is_refused():
    with pytest.raises(OSError):
        upperPDU("data", ("example.com", 1))
