"""Where values come from: kcptun's JSON file, the command line, the environment; and --explain."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcpstack.options import Address, Configuration, restartless
from kcpstack.options.explanation import explanation
from kcpstack.options.table import BOTH, NEW_SESSIONS, NOW, RESTART, optionsOf

# The two examples that kcptun publishes, but for blanks: their keys and values are what counts.
CLIENT_EXAMPLE = """{"localaddr": ":2000", "remoteaddr": "11.22.33.44:2000", "key": "PASSWORD", "crypt": "aes-128",
"qpp":true, "qpp-count":64, "mode": "fast3", "mtu": 1400, "sndwnd": 128, "rcvwnd": 1024, "datashard": 10,
"parityshard": 3, "dscp": 46, "nocomp": true, "acknodelay": false, "nodelay": 1, "interval": 40, "resend": 2,
"nc": 1, "sockbuf": 16777217, "smuxver": 1, "smuxbuf": 16777217, "streambuf": 2097152, "keepalive": 10,
"autoexpire": 1800, "quiet": false, "tcp": false}"""
SERVER_EXAMPLE = """{"listen": ":2000", "target": "127.0.0.1:9999", "key": "PASSWORD", "crypt": "aes-128",
"qpp":true, "qpp-count":64, "mode": "fast3", "mtu": 1400, "sndwnd": 2048, "rcvwnd": 2048, "datashard": 10,
"parityshard": 3, "dscp": 46, "nocomp": true, "acknodelay": false, "nodelay": 1, "interval": 40, "resend": 2,
"nc": 1, "sockbuf": 16777217, "smuxver": 1, "smuxbuf": 16777217, "streambuf": 2097152, "keepalive": 10,
"pprof":false, "quiet":false, "tcp":false}"""


def configured(content: str | bytes, role: str = "client", environ: dict[str, str] | None = None, **texts: str):
    """The configuration of a command with this file and these options."""
    data = content.encode() if isinstance(content, str) else content
    return Configuration(role, {"c": "my.json", **texts}, environ or {}, lambda path: data)


def refusal(content: str | bytes, **texts: str) -> str:
    with pytest.raises(ValueError) as caught:
        configured(content, **texts)
    (line,) = str(caught.value).splitlines()
    return line


@pytest.mark.option("c", "QPP", "QPPCount")
@pytest.mark.parametrize(("role", "example"), [("client", CLIENT_EXAMPLE), ("server", SERVER_EXAMPLE)])
def test_kcptuns_published_examples_load_unchanged_and_without_unknown_keys(role, example):
    it = configured(example, role)
    assert not [remark for remark in it.remarks if "unknown" in remark]
    for key, value in json.loads(example).items():
        if key in ("tcp", "interval", "nodelay", "resend", "nc"):
            continue  # refused or not at all; the mode's
        name = {"qpp": "QPP", "qpp-count": "QPPCount"}.get(key, key)
        held = getattr(it.settings, name)
        assert (str(held) if isinstance(held, Address) else held) == value


@pytest.mark.option("c")
def test_what_the_file_overrides_is_said():
    it = configured('{"mtu": 1200, "key": "mine"}', environ={"KCPTUN_KEY": "yours"}, mtu="1400", sndwnd="9")
    assert (it.settings.mtu, it.settings.key, it.settings.sndwnd) == (1200, "mine", 9)
    assert it.remarks == [
        "my.json overrides KCPTUN_KEY of the environment",
        "my.json overrides --mtu of the command line (1200, not 1400)",
    ]


@pytest.mark.option("c")
def test_the_same_value_twice_overrides_nothing():
    assert configured('{"mtu": 1400, "key": "mine"}', mtu="1400").remarks == []


@pytest.mark.option("c")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"mtuu": 1}', 'my.json: unknown key "mtuu" (did you mean "mtu"?); it is ignored'),
        ('{"listen": ":1"}', 'my.json: unknown key "listen" (of the server; it is ignored here)'),
        ('{"ds": 5}', 'my.json: unknown key "ds" (did you mean "datashard"?); it is ignored'),
        ('{"_comment": "hello"}', 'my.json: unknown key "_comment" is ignored'),
        ('{"explain": true}', 'my.json: unknown key "explain" is ignored'),
        ('{"mtu": 1400, "mtu": 1200}', 'my.json: "mtu" is there more than once; the last one counts'),
        ("{} }", "my.json: what follows the first object is not read"),
    ],
)
def test_what_go_passes_over_in_silence_is_remarked_upon(content, says):
    assert says in configured(content, key="mine").remarks


@pytest.mark.option("c")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"mtu": 9000}', 'my.json: "mtu": 9000: give a whole number from 100 to 1500 bytes'),
        ('{"mtu": 1400.5}', 'my.json: "mtu": 1400.5: give a whole number'),
        ('{"mtu": true}', 'my.json: "mtu": true: give a whole number'),
        ('{"mtu": ""}', 'my.json: "mtu": "": give a whole number'),
        ('{"log": 1234}', 'my.json: "log": 1234: give a text in quotes'),
        ('{"key": 1234}', 'my.json: "key": (not shown): give a text in quotes'),
        (" ", "-c my.json: the file is empty: give at least {}"),
        ('{"nocomp": 1}', 'my.json: "nocomp": 1: give true or false'),
        ('{"crypt": {"a": 1}}', 'my.json: "crypt": an object: give a text in quotes'),
        ('{"tcp": true}', 'my.json: "tcp": true: leave it out: kcpstack sends UDP only'),
        ('{"mtu": 1400', "-c my.json: no JSON at line 1, column 13: Expecting ',' delimiter"),
        ("[1]", '-c my.json: give a JSON object, as in {"key": "secret"}'),
        (b"\xff\xfe", "-c my.json: this is no text: give a JSON file in UTF-8"),
        ("[" * 100_000, "-c my.json: nested too deeply: give one JSON object"),
    ],
)
def test_a_file_that_will_not_do_is_refused_with_one_line(content, says):
    assert refusal(content) == says


def test_a_wrong_value_is_refused_also_where_another_overrides_it():
    assert refusal('{"mtu": 1400}', mtu="9").startswith("--mtu 9: give")


def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"-c .*absent\.json: No such file or directory: give a file that can be read"):
        Configuration("client", {"c": str(tmp_path / "absent.json")}, {})


@pytest.mark.option("c")
def test_keys_and_null_are_read_as_go_reads_them():
    it = configured('\ufeff {"MTU": 1400, "Key": "mine", "crypt": null, "sndwnd": "77"}')
    assert (it.settings.mtu, it.settings.key, it.settings.crypt, it.settings.sndwnd) == (1400, "mine", "aes", 77)


def test_half_a_character_is_replaced_as_go_replaces_it():
    assert configured('{"key": "a\\ud800b\\ud83d\\ude00"}').settings.key == "a\ufffdb\U0001f600"


@pytest.mark.option("c")
def test_a_relative_name_is_read_again_from_where_the_process_was_started(tmp_path, monkeypatch):
    (tmp_path / "my.json").write_text('{"mtu": 1200}')
    monkeypatch.chdir(tmp_path)
    before = Configuration("client", {"c": "my.json"}, {})
    monkeypatch.chdir("/")  # as a daemon does
    (tmp_path / "my.json").write_text('{"mtu": 1400}')
    assert before.reread().settings.mtu == 1400


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from([option.jsonKey for role in BOTH for option in optionsOf(role)]) | st.text(max_size=6)


@given(st.dictionaries(keys, values) | values, st.sampled_from(BOTH))
def test_any_json_is_taken_or_refused_with_one_line(content, role):
    try:
        it = configured(json.dumps(content), role)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert all(len(remark.splitlines()) == 1 for remark in it.remarks)


@given(st.binary(max_size=40))
def test_any_bytes_are_taken_or_refused_with_one_line(content):
    try:
        configured(content)
    except ValueError as error:
        assert len(str(error).splitlines()) == 1


# ------------------------------------------------------------------ --explain


@pytest.mark.option("explain")
def test_explain_tells_every_value_and_where_it_comes_from():
    it = configured('{"mtu": 1200}', environ={"KCPTUN_KEY": "secret"}, mtu="1400", mode="fast2", nocomp="true")
    lines = {line.split()[0]: line.split(None, 1)[1] for line in explanation(it).split("\n\n")[0].splitlines()}
    assert set(lines) == {"Option", *(f"--{option.name}" for option in optionsOf("client") if option.setting)}
    table = {name: tuple(part.strip() for part in rest.split("  ") if part) for name, rest in lines.items()}
    assert table["--mtu"] == ("1200 bytes", "my.json")
    assert table["--key"] == ("(6 characters, not shown)", "KCPTUN_KEY")
    assert table["--nocomp"] == ("on", "command line")
    assert table["--interval"] == ("20 ms", "--mode fast2")
    assert table["--conn"] == ("1", "default")
    assert "secret" not in explanation(it)
    assert "my.json overrides --mtu of the command line (1200, not 1400)" in explanation(it)


# ------------------------------------------------------------------ doubts


@pytest.mark.option("key")
def test_the_well_known_default_key_is_remarked_upon_however_it_was_given():
    for it in (configured("{}"), configured("{}", key="it's a secrect"), configured('{"key": "it\'s a secrect"}')):
        assert any("well-known default" in remark for remark in it.remarks)
    assert not configured("{}", key="mine").remarks


@pytest.mark.option("autoexpire", "scavengettl")
def test_sessions_that_outlive_their_successors_are_remarked_upon():
    assert any("--scavengettl 600" in remark for remark in configured("{}", autoexpire="60").remarks)
    assert not configured("{}", key="mine", autoexpire="600").remarks


@pytest.mark.option("ratelimit")
def test_a_rate_in_kilobytes_is_remarked_upon():
    assert any("--ratelimit 500" in remark for remark in configured('{"ratelimit": 500}', key="mine").remarks)
    assert not configured('{"ratelimit": 1000}', key="mine").remarks


# ------------------------------------------------------------------ changes under way


@pytest.mark.option("c")
def test_reading_again_keeps_the_command_line_and_tells_what_changed():
    content = [b'{"mtu": 1200, "quiet": true}']
    before = Configuration("server", {"c": "my.json", "key": "mine"}, {}, lambda path: content[0])
    content[0] = b'{"mtu": 1400, "smuxver": 1, "quiet": false}'
    after = before.reread()
    assert after.settings.key == "mine"
    changed = {option.name: option.reloadFor("server") for option in before.settings.changed(after.settings)}
    assert changed == {"mtu": RESTART, "smuxver": NEW_SESSIONS, "quiet": NOW}
    merged = restartless("server", before.settings, after.settings)
    assert (merged.mtu, merged.smuxver, merged.quiet) == (1200, 1, False)
