"""Download pip's newest wheel that this Python can use, checked against the index's hash.

    python3 pip_wheel.py DIRECTORY

Prints the path of the wheel.  For a Python that has neither pip nor ensurepip; standard library
only.  The index is PIP_INDEX_URL, or that of a pip.conf, or PyPI.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin
from urllib.request import urlopen

PYPI = "https://pypi.org/simple"
TIMEOUT = 60  # seconds for each answer of the index


def indexURL() -> str:
    """The package index that pip itself would ask."""
    home = Path.home()
    files = ("/etc/pip.conf", home / ".pip/pip.conf", home / ".config/pip/pip.conf")
    config = configparser.RawConfigParser()
    config.read([*files, os.environ.get("PIP_CONFIG_FILE", "")])
    configured = config.get("global", "index-url", fallback=PYPI)
    return os.environ.get("PIP_INDEX_URL", configured)


class Links(HTMLParser):
    """The links of a page of the simple index: (address, what it says of Python versions)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "a" and attributes.get("href"):
            self.found.append((attributes["href"] or "", attributes.get("data-requires-python") or ""))


def usable(requirement: str) -> bool:
    """Whether this Python is at least what ``>=3.x`` asks for."""
    lowest = re.search(r">=\s*(\d+)\.(\d+)", requirement)
    return lowest is None or sys.version_info[:2] >= (int(lowest[1]), int(lowest[2]))


def newestWheel(page: str) -> tuple[str, str]:
    """The address and SHA-256 of the newest final release on a page of the simple index."""
    links = Links()
    links.feed(page)
    wheels: list[tuple[tuple[int, ...], str, str]] = []
    for address, requirement in links.found:
        release = re.search(r"/pip-([\d.]+)-py3-none-any\.whl", "/" + address)
        digest = re.search(r"#sha256=([0-9a-f]{64})", address)
        if release and digest and usable(requirement):
            wheels.append((tuple(map(int, release[1].split("."))), address, digest[1]))
    if not wheels:
        sys.exit("the package index has no wheel of pip for this Python")
    return max(wheels)[1:]


def main() -> None:
    page = indexURL().rstrip("/") + "/pip/"
    with urlopen(page, timeout=TIMEOUT) as answer:
        address, digest = newestWheel(answer.read().decode())
    url = urldefrag(urljoin(page, address))[0]
    with urlopen(url, timeout=TIMEOUT) as answer:
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != digest:
        sys.exit(f"{url} is not what the package index says it is")
    path = Path(sys.argv[1], url.rpartition("/")[2])
    path.write_bytes(content)
    print(path)


if __name__ == "__main__":
    main()
