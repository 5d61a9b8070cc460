"""kcptun's JSON file (kcpstack/options/jsonfile.py), and the settings that a command makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fuzz.records import Fields
from kcpstack.options import Configuration, optionsOf
from kcpstack.options.jsonfile import JSONFile

ROLES = ("client", "server")
PATH = "/etc/kcptun.json"
LINE_MAX = 1000  # characters


def check(data: bytes) -> None:
    """Settings, or a ValueError of one line that names the file and tells no secret; the same each time."""
    fields = Fields(data)
    role = fields.pick(ROLES)
    content = fields.rest()
    try:
        file = JSONFile(role, PATH, lambda path: content)
    except ValueError as error:
        assertLine(str(error), content)
        assert PATH in str(error)
        return
    names = {option.name for option in optionsOf(role)}
    assert set(file.texts) <= names
    assert all(isinstance(text, str) for text in file.texts.values())
    for text in file.texts.values():
        text.encode()
    try:
        configuration = Configuration(role, {"c": PATH}, {}, lambda path: content)
    except ValueError as error:
        assertLine(str(error), content)
        return
    for remark in configuration.remarks:
        assertLine(remark, content)
    again = configuration.reread()
    assert (again.settings, again.remarks) == (configuration.settings, configuration.remarks)


def assertLine(line: str, content: bytes) -> None:
    """One line, not too long, for a terminal, and without what the file has for the key."""
    assert line and line.isprintable() and len(line) < LINE_MAX, line
    try:
        given: Any = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    secret = given.get("key") if isinstance(given, dict) else None
    if isinstance(secret, str) and len(secret) >= SECRET_LEAST and secret.isprintable():
        del given["key"]
        if secret not in json.dumps(given, ensure_ascii=False):
            assert secret not in line, "a secret was told"


SECRET_LEAST = 12  # characters; a shorter one may be there by chance


def seeds() -> Iterator[bytes]:
    files = (
        b'{"listen": ":29900", "target": "127.0.0.1:22", "key": "a secret of ours", "mtu": 1350}',
        b'{"localaddr":":12948","remoteaddr":"vps:29900","conn":4,"autoexpire":60,"nocomp":true,"smuxver":2}',
        b'\xef\xbb\xbf {"KEY":"x","sndwnd":"1024","datashard":10,"unknown":[1,{"a":null}]} trailing',
        b'{"mtu": 1e3}',
        b'{"key": {"secret of mine": 1}}',
        b"[" * 3000,
        b'{"quiet":true,"tcp":true,"snmplog":"./snmp-20060102.log","keepalive":10,"dscp":46}',
        b'{"nodelay":1,"interval":10,"resend":2,"nc":1,"mode":"manual","smuxbuf":4194304}',
        b'{"erasure":"reed-solomon","congestion":"none","key":"\\ud800"}',
    )
    for number in range(len(ROLES)):
        for content in files:
            yield bytes([number]) + content
