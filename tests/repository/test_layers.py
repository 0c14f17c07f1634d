"""The layers of both packages: a room imports only rooms below it, and none on its own line."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the top down. Rooms on one line know nothing of each other. A room is a module or a package
# with everything in it; inside a room imports are free, but for cycles.
LAYERS = {
    "active_learn_backend": """
        cli
        web worker doctor demo finetuning
        learning.training
        learning.quality learning.engines learning.export
        learning.heads
        learning.selection
        learning.regions
        learning.embedding
        learning.user_models
        learning.encoders
        labelstudio
        state
        labeling decoders
        heartbeat collector security_checks logs
        project_settings
        settings
        setting_types
        errors wording
    """,
    "active_learn": """
        partitioned
        partitioning
        sampler
        persistence
        sklearn_interface
        problem
        ranking reasons
        tables
        strategies streams evaluation
        selectors
        posterior inputs
        heads
        models
        validation ragged
        errors
    """,
}
FOLDERS = {"active_learn_backend": ROOT / "backend", "active_learn": ROOT / "sampler"}
MODULES = {
    ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__"): path
    for package, folder in FOLDERS.items()
    for path in sorted((folder / package).rglob("*.py"))
}
# The one package that shows what the rooms below it hold.
FRONT_DOORS = ("active_learn", "active_learn_backend", "active_learn_backend.learning")


def imports_of(module: str) -> Iterator[tuple[str, int]]:
    """Yield the modules of ours that a module imports anywhere in it, and the lines."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else base for name in names]
        else:
            continue
        yield from ((name, node.lineno) for name in names if name in MODULES)


def layers_of(package: str) -> dict[str, int]:
    """Return the number of the line on which each room stands, counted from the top."""
    lines = LAYERS[package].split("\n")
    return {
        f"{package}.{room}": number for number, line in enumerate(lines) for room in line.split()
    }


def room_of(module: str) -> str:
    """Return the room that a module lies in."""
    rooms = layers_of(module.split(".")[0])
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in rooms:
            return ".".join(parts[:end])
    raise AssertionError(f"{module} lies in no room: add it to LAYERS")


def offences(package: str) -> list[str]:
    """Name every import that does not lead downward."""
    layers = layers_of(package)
    found = []
    for module in MODULES:
        if module.split(".")[0] != package or module in FRONT_DOORS:
            continue
        for name, line in imports_of(module):
            if name in FRONT_DOORS:
                continue
            if name.split(".")[0] != package:
                if package == "active_learn":
                    found.append(f"{module}:{line} imports {name}: the library knows no backend")
                continue
            here, there = room_of(module), room_of(name)
            if here != there and layers[here] >= layers[there]:
                found.append(f"{module}:{line} imports {name}, which is not below {here}")
    return found


@pytest.mark.parametrize("package", LAYERS)
def test_imports_lead_downward(package: str) -> None:
    found = offences(package)
    assert not found, "\n".join(["imports against the layers:", *found])


@pytest.mark.parametrize("package", LAYERS)
def test_every_room_is_there(package: str) -> None:
    for room in layers_of(package):
        assert any(name == room or name.startswith(f"{room}.") for name in MODULES), room


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {
        module: {name for name, _ in imports_of(module) if name not in FRONT_DOORS} - {module}
        for module in MODULES
        if module not in FRONT_DOORS
    }
    cycles = _cycles(graph)
    assert not cycles, f"import cycles: {cycles}"


def _cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return one cycle for each module from which one can be reached along the path walked."""
    found: list[list[str]] = []
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
            return
        if module in done:
            return
        for name in sorted(graph.get(module, ())):
            visit(name, [*path, module])
        done.add(module)

    for module in graph:
        visit(module, [])
    return found


def packages_of(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def test_the_library_knows_nothing_of_the_web_or_of_databases() -> None:
    foreign = {
        "click", "flask", "gunicorn", "httpx", "label_studio_ml", "label_studio_sdk", "waitress",
        "pydantic_settings", "requests", "sqlalchemy",
    }  # fmt: skip
    for module, path in MODULES.items():
        if module.split(".")[0] == "active_learn":
            assert not packages_of(path) & foreign, module


def test_only_its_room_speaks_to_label_studio() -> None:
    speaks = {name for name, path in MODULES.items() if packages_of(path) & {"httpx", "requests"}}
    # The advice goes to the operator's own address.
    speaks.remove("active_learn_backend.worker.advice_webhook")
    # The doctor asks both servers without the client, so that a bad token hides no bad address.
    speaks.remove("active_learn_backend.doctor.servers")
    allowed = ("active_learn_backend.labelstudio.", "active_learn_backend.demo.")
    assert all(name.startswith(allowed) for name in speaks), speaks


def test_rooms_that_start_at_once_import_no_model_library() -> None:
    """Importing torch takes seconds of CPU, which a command without a model must not cost."""
    rooms = ("labelstudio", "labeling", "state", "doctor", "logs", "settings")
    # Imported when a model is examined.
    later = ("active_learn_backend.doctor.models",)
    modules = [
        name
        for name in MODULES
        if name.startswith(tuple(f"active_learn_backend.{room}" for room in rooms))
        and name not in later
    ]
    heavy = {"torch", "transformers", "onnx", "onnxruntime", "ray", "sklearn"}
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {modules}]; "
        f"print(*{heavy} & {{*sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_an_upward_import_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    offender = tmp_path / "folders.py"
    offender.write_text("from ..web.app import create_app\n")
    monkeypatch.setitem(MODULES, "active_learn_backend.state.folders", offender)
    assert (
        "active_learn_backend.state.folders:1 imports active_learn_backend.web.app, which is not "
        "below active_learn_backend.state"
    ) in offences("active_learn_backend")


@pytest.mark.parametrize("module", [name for name in MODULES if name not in FRONT_DOORS])
def test_no_file_is_a_house_of_its_own(module: str) -> None:
    """A file over 350 lines holds a second room."""
    lines = len(MODULES[module].read_text(encoding="utf-8").splitlines())
    assert lines <= REASONS.get(module, 350), f"{module} has {lines} lines: split it"


TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_tests_has_several_subjects(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{path} has {lines} lines: split it by subject, into files of new names"


def test_no_two_files_of_tests_share_a_name() -> None:
    """Tests are no packages: of two files of one name the second could not be imported."""
    names = Counter(path.name for path in TEST_FILES if path.name != "conftest.py")
    assert [name for name, n in names.items() if n > 1] == []


# Files that may be longer, and how long, each with the reason.
REASONS: dict[str, int] = {
    "active_learn_backend.settings": 380,  # the one table of settings, a row of 3 to 6 lines each
}
