"""The documentation says what is so: it builds, its tables have every row, its commands exist."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "interop"))

from misconfigurations import ROWS

from kcpstack import ALL, PUBLIC, counters, interfaces
from kcpstack.options import MODES, Options, dashed, optionsOf
from kcpstack.options.commandline import spellingsOf
from kcpstack.seams import SEAMS

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text()
MINUTES = 60


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as HTML, built with every warning an error."""
    directory = tmp_path_factory.mktemp("docs")
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command = [*sphinx, "-d", str(directory / "doctrees"), str(CHECKOUT / "docs"), str(directory / "html")]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=5 * MINUTES)
    assert done.returncode == 0, done.stdout + done.stderr
    return directory / "html"


def text(page: Path) -> str:
    """What a page says, without its markup."""
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text()))


def test_every_page_is_reachable_from_the_contents(pages: Path) -> None:
    index = (pages / "index.html").read_text()
    for source in (CHECKOUT / "docs").glob("*.rst"):
        if source.stem != "index":
            assert f'href="{source.stem}.html"' in index


def test_the_options_page_has_every_option_and_every_mode(pages: Path) -> None:
    said = " ".join(text(pages / "options.html").split())
    for option in [*optionsOf("client"), *optionsOf("server")]:
        assert dashed(option.name) in said
        assert option.help[1:] in said
        assert option.difference in said
    for name, mode in MODES.items():
        assert " ".join([name, *map(str, mode)]) in said


def test_the_counters_and_interfaces_pages_have_every_name(pages: Path) -> None:
    said = text(pages / "counters.html")
    for name in [*counters.SNMP, *counters.FORMER, *counters.ALIASES, *counters.OWN]:
        assert name in said
    for difference in counters.DIFFERENCES.values():
        assert " ".join(difference.split()) in " ".join(said.split())
    said = text(pages / "interfaces.html")
    for name in interfaces.__all__:
        for member in [name, *getattr(interfaces, name).names()]:
            assert member in said


def test_the_api_page_lists_what_public_modules_export_and_nothing_else(pages: Path) -> None:
    sections = re.split(r'<p class="rubric">([\w.]+)</p>', (pages / "api.html").read_text())[1:]
    listed = {}
    for module, section in zip(sections[::2], sections[1::2]):
        firstCells = re.findall(r"<tr[^>]*><td>(.*?)</td>", section, re.DOTALL)
        listed[module] = {re.sub(r"<[^>]*>", "", cell).strip() for cell in firstCells}
    assert listed.keys() == PUBLIC.keys()
    for module, names in PUBLIC.items():
        assert listed[module] == set(import_module(module).__all__ if names == ALL else names)


def test_the_layers_page_has_every_kind_of_layer(pages: Path) -> None:
    said = text(pages / "layers.html")
    for seam in SEAMS:
        interface = seam.catalogue.interface
        for word in (seam.catalogue.noun, dashed(seam.option), interface.__name__, *interface.names()):
            assert word in said


def test_the_mis_set_ups_page_has_every_line(pages: Path) -> None:
    said = " ".join(text(pages / "mis-set-ups.html").split())
    for row in ROWS:
        assert row.wrong in said
        assert " ".join(row.line.split()) in said


def test_every_make_command_that_is_named_somewhere_is_a_target() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    pages = [README, *(page.read_text() for page in (CHECKOUT / "docs").glob("*.rst"))]
    named = {target for page in pages for target in re.findall(r"(?:^ +|`)make ([a-z]+)", page, re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets


def test_the_commands_of_the_deployment_are_accepted() -> None:
    commands = re.findall(r"^    kcptun (client|server) (.*?) +#", README, re.MULTILINE)
    assert {role for role, _ in commands} == {"client", "server"}
    for role, arguments in commands:
        Options().parseOptions([role, *arguments.split()])


def test_the_go_commands_of_the_deployment_use_options_that_go_has() -> None:
    for role, arguments in re.findall(r"^    kcptun-(client|server) (.*?) +#", README, re.MULTILINE):
        words = arguments.split()
        assert {word.lstrip("-") for word in words if word.startswith("-")} <= set(spellingsOf(role))


def test_links_from_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (CHECKOUT / target).exists(), target


def test_there_is_news_of_this_version() -> None:
    fragments = list((CHECKOUT / "newsfragments").glob("*.*.md"))
    assert all(re.fullmatch(r"\d+(\.[a-z-]+)?\.(feature|bugfix|doc|removal|misc)\.md", path.name) for path in fragments)
    assert all(path.read_text().strip() for path in fragments)


def test_every_option_has_a_test_that_shows_it_at_work() -> None:
    sys.path.insert(0, str(CHECKOUT / "docs"))
    from optiontests import testsOfOptions

    assert [name for name, tests in testsOfOptions().items() if not tests] == []
