"""The site builds without a warning, and no link on it leads nowhere."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page links to, and the places on it that can be linked."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [given[key] for key in ("href", "src") if given.get(key)]
        self.places |= {given[key] for key in ("id", "name") if given.get(key)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there(site):
    """Each page of the folder and each generated one is built."""
    pages = {path.parent.relative_to(site).as_posix() for path in site.rglob("index.html")}
    assert {"tutorial", "how-to/small-gpu", "concepts/intervals", "platforms", "methods", "recommender"} <= pages
    assert {f"reference/{name}" for name in ("commands", "python", "files", "ranges")} <= pages


def test_no_link_leads_nowhere(site):
    """Every link within the site leads to a file, and to a place on it; nothing is loaded from another server."""
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    wrong, checked = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert parts.scheme in ("https", "http", "mailto"), link
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            found = target.is_file() and (not place or target not in pages or place in pages[target].places)
            checked += 1
            wrong += [] if found else [f"{path.relative_to(site)}: {link}"]
    assert wrong == []
    assert checked > 500


def test_the_reference_is_of_the_code(site):
    """Commands, functions, keys and methods stand on their pages."""
    from autopeft.methods import all_methods

    def text(page):
        return (site / "reference" / page / "index.html").read_text()

    assert "--stop-when-flat" in text("commands")
    assert "hyperparameter_search" in text("python")
    assert "gradient_checkpointing" in text("files")
    assert all(f'id="{name}"' in text("ranges") for name in all_methods())
