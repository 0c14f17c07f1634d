"""dependencies.py write|list: what this project needs, as it is installed here.

``write`` pins it: in constraints.txt, and in upgraded_last.txt what label-studio-ml holds back.
``list`` prints all of it as requirements, for `make audit`.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
PROJECT = "label-studio-active-sampler"
# label-studio-ml pins old ones; `make install` upgrades them as its last step.
UPGRADED_LAST = ("flask", "itsdangerous", "jinja2", "werkzeug")
# Which build of PyTorch it is depends on the machine: the Makefile has its version.
BY_MAKEFILE = ("torch",)
OF_CUDA = ("nvidia-", "cuda-", "triton")
# Needed on some versions of Python only, perhaps not on this one: by redis before 3.11.3.
ELSEWHERE = {"async-timeout": "5.0.1"}

CONSTRAINTS = """\
# Every package that this project needs, but PyTorch (the Makefile has its version) and those that
# are upgraded last (upgraded_last.txt). Written by `make constraints`; used by `make install`.
# One version for Python 3.11 to 3.13: `make constraints` says so where there is none.
"""
LAST = """\
# What label-studio-ml pins to releases of 2020: `make install` upgrades them last, against its
# pins. Written by `make constraints`.
"""


def normalized(name: str) -> str:
    """Give a package's name as the registry compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed() -> dict[str, str]:
    """Versions of all packages that the project needs with its extras, itself left out.

    Raises
    ------
    SystemExit
        When one of them is not installed.
    """
    # Not the installed metadata: that is as old as the last `make install`.
    declared = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    lines = [*declared["dependencies"], *(line for extra in extras.values() for line in extra)]
    found: dict[str, str] = {}
    asked: set[tuple[str, str]] = {(PROJECT, extra) for extra in ("", *extras)}
    wanted = _wanted(lines, "")
    while wanted:
        name, extra = request = wanted.pop()
        if request in asked:
            continue
        asked.add(request)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            sys.exit(f"{name} is needed but not installed; run: make install")
        found[name] = distribution.version
        wanted += _wanted(distribution.requires or (), extra)
    return dict(sorted(found.items()))


def _wanted(lines: Iterable[str], extra: str) -> list[tuple[str, str]]:
    """Give what requirements ask for here, as pairs of a package and an extra of it."""
    requirements = [Requirement(line) for line in lines]
    return [
        (normalized(one.name), asked)
        for one in requirements
        if one.marker is None or one.marker.evaluate({"extra": extra})
        for asked in ("", *sorted(one.extras))
    ]


def pins(versions: dict[str, str]) -> str:
    """Write versions as requirements, without the build of PyTorch."""
    return "".join(
        f"{name}=={version.partition('+')[0]}\n"
        for name, version in versions.items()
        if not name.startswith(OF_CUDA)
    )


def main() -> None:
    """Write the files, or print all of it."""
    if sys.argv[1:] not in (["write"], ["list"]):
        sys.exit(str(__doc__))
    versions = dict(sorted((ELSEWHERE | needed()).items()))
    if sys.argv[1] == "list":
        print(pins(versions), end="")
        return
    last = {name: versions.pop(name) for name in UPGRADED_LAST}
    for name in BY_MAKEFILE:
        del versions[name]
    (HERE / "constraints.txt").write_text(CONSTRAINTS + pins(versions))
    (HERE / "upgraded_last.txt").write_text(LAST + pins(last))


if __name__ == "__main__":
    main()
