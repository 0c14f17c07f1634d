"""The index of the benchmarks lists every script, and each section that it names is on one page."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "benchmarks"
INDEX = (FOLDER / "README.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in INDEX.splitlines()
    if line.startswith("| `")
]


def test_every_script_is_in_the_index() -> None:
    listed = {re.match(r"`(\w+\.py)", script)[1] for script, *_ in ROWS}  # type: ignore[index]
    programs = {path.name for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert listed == programs
    for path in FOLDER.glob("*.py"):
        assert f"`{path.name}`" in INDEX


def test_a_row_says_question_minutes_and_table() -> None:
    for row in ROWS:
        assert len(row) == 5
        script, question, minutes, table, section = row
        assert question.endswith("?"), script
        assert int(minutes) > 0, script
        assert table, script
        assert section == "prints" or re.fullmatch(r"`[\w -]+`", section), script


def test_each_section_is_on_one_page_and_written_by_its_script() -> None:
    folders = ("backend", "sampler", "docker")
    found = [*ROOT.glob("*.md"), *(path for top in folders for path in (ROOT / top).rglob("*.md"))]
    pages = [path.read_text() for path in found]
    for script, *_, section in ROWS:
        program = (FOLDER / script.strip("`").split()[0]).read_text()
        assert "measured_by()" in program, script
        if section == "prints":
            assert "publish(" not in program, script
            continue
        name = section.strip("`")
        assert "publish(" in program, script
        assert name in program or name in script, script
        for mark in (f"<!-- {name}: begin -->", f"<!-- {name}: end -->"):
            assert sum(page.count(mark) for page in pages) == 1, f"{script}: {mark}"
