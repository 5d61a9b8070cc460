"""Whatever is set up wrong, a line of the log says what and what to do, in time and not too often; and a
tunnel that is set up right says none of these lines.

The rows, and how each is played, are in misconfigurations.py.
"""

from __future__ import annotations

import pytest
from misconfigurations import ROWS, play, playOpposite

RIGHT = list(dict.fromkeys((row.client, row.server, row.opposite) for row in ROWS))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_it_is_said_in_time_and_not_too_often(tunnel, row):
    outcome = play(row, tunnel(row.client, row.server, row.wire, row.serverWire, targetOption=row.target))
    assert outcome.line is not None, f"not said within {row.seconds} s"
    assert outcome.count <= row.most


@pytest.mark.parametrize("client,server,wire", RIGHT, ids=lambda value: getattr(value, "crypt", value))
def test_a_tunnel_that_is_set_up_right_says_none_of_it(tunnel, client, server, wire):
    assert playOpposite(tunnel(client, server, wire)) == []


def test_no_two_rows_have_one_name():
    names = [str(row) for row in ROWS]
    assert len(set(names)) == len(names)
