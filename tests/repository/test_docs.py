"""The documentation: its Python runs, its links lead somewhere, its pages lie where they should."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("backend", "sampler", "docker", "tests")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
)
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
CONTENTS = ROOT / "backend" / "README.md"
# What runs before the Python of a page, where the page does not define it.
PREAMBLES = {
    "README.md": (
        "import numpy as np\nfrom active_learn import LinearHead\n"
        "rng = np.random.default_rng(0)\nmodel = LinearHead(rng.normal(size=(3, 8)))\n"
        "candidates, labeled = rng.normal(size=(1500, 8)), rng.normal(size=(20, 8))\n"
    ),
}
LIBRARY = ("api", "extending", "tasks-of-parts")
RUN = ("README.md", *(f"sampler/docs/{name}.md" for name in LIBRARY))
# Settings that are constants now: a page that mentions one is out of date.
REMOVED_SETTINGS = (
    "MAX_REQUEST_MB", "DEBOUNCE", "LEASE_SECONDS", "CONTENT_TIMEOUT", "KEEP_HEADS",
    "LOW_WATER", "RANDOM_STATE", "SEED_FISHER", "PRECOMPUTE_COVARIANCE", "MAX_IMAGE_MEGAPIXELS",
    "RAY_CPUS", "BATCH_SIZE",
)  # fmt: skip


@pytest.mark.parametrize("name", RUN)
def test_the_python_of_a_page_runs(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    program = PREAMBLES.get(name, "") + "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _links(page):
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in [_anchor(title) for title in titles], f"{page.name}: {target}"


def _links(page: Path) -> list[str]:
    """Return the targets of a page's links that lead to files or titles of this repository."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def _anchor(title: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", title.lower())
    return plain.strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pages_lie_in_the_folders_of_the_documentation(page: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    in_docs = re.fullmatch(r"(backend|sampler)/docs/[a-z]+(-[a-z]+)*\.md", name)
    at_top = page.parent == ROOT and page.stem.isupper()
    assert in_docs or at_top or page.name == "README.md", name


@pytest.mark.parametrize("package", ["sampler/active_learn", "backend/active_learn_backend"])
@pytest.mark.parametrize("kind", ["*.md", "*.png"])
def test_no_page_is_shipped(package: str, kind: str) -> None:
    """The wheel holds everything in the two packages."""
    assert not list((ROOT / package).rglob(kind))


def test_the_table_of_contents_is_short_and_links_to_every_page() -> None:
    assert len(CONTENTS.read_text().splitlines()) <= 60
    linked = {(CONTENTS.parent / link.partition("#")[0]).resolve() for link in _links(CONTENTS)}
    pages = [ROOT / name for name in NAMES if "/docs/" in name]
    assert [page.name for page in pages if page not in linked] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "CHANGELOG.md"])
def test_no_page_names_a_removed_setting(name: str) -> None:
    text = (ROOT / name).read_text()
    assert [gone for gone in REMOVED_SETTINGS if re.search(rf"\b{gone}\b", text)] == []


def test_no_two_test_files_share_a_name() -> None:
    """Else pytest collects only one of them in a process."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))
