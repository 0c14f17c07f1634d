"""The Python of the documentation runs, and what pages link to is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in (".", "backend", "sampler", "docker", "tests")
    for page in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)
# What a page takes for granted.
GIVEN = {
    "README.md": (
        "import numpy as np\nfrom active_learn import LinearHead\n"
        "rng = np.random.default_rng(0)\nmodel = LinearHead(rng.normal(size=(3, 8)))\n"
        "candidates, labeled = rng.normal(size=(1500, 8)), rng.normal(size=(20, 8))\n"
    ),
}
RUN = ("README.md", "sampler/active_learn/API.md", "sampler/active_learn/EXTENDING.md")


@pytest.mark.parametrize("name", RUN)
def test_the_python_of_a_page_runs(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    assert blocks
    program = GIVEN.get(name, "") + "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in [_anchor(title) for title in titles], f"{page.name}: {target}"


def _anchor(title: str) -> str:
    plain = re.sub(r"[^\w\- ]", "", title.lower())
    return plain.strip().replace(" ", "-")


def test_no_two_test_files_share_a_name() -> None:
    """Else pytest collects only one of them in a process."""
    names = [path.name for path in (ROOT / "tests").glob("**/test_*.py")]
    assert len(names) == len(set(names))
