"""Files of `torch.export`, read without unpickling.

They are programs. What could do more than compute is refused before a file is read.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from .torch_operators import only_computes

__all__ = ["EXPORTED", "read_exported"]

EXPORTED = (".pt2",)

# What a program of torch.export needs. All else (pickled objects, compiled libraries) is refused.
MEMBERS = re.compile(
    r"version|byteorder|archive_(format|version)|\.data/(version|serialization_id)|\.format_version"
    r"|data/weights/(weight_\d+|model_weights_config\.json)|data/constants/(tensor_\d+"
    r"|model_constants_config\.json)|data/sample_inputs/model\.pt|models/model\.json|extra/.*"
)
# Reading builds Python code and symbols out of these: nothing but names may stand there.
NAMES = re.compile(r"[\w.@-]*")
OPERATORS = re.compile(
    r"torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|torch\.sym_(int|float|max|min|not|ite|sum|sqrt)|math\.(ceil|floor|trunc|sqrt|pow|log2?|exp)"
)
ATEN_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.(\w+)(\.\w+)?")
SYMBOLS = re.compile(
    r"Symbol|Integer|Float|Rational|Add|Mul|Pow|Max|Min|Mod|FloorDiv|CeilDiv|CleanDiv|And|Or|Not"
    r"|StrictLessThan|StrictGreaterThan|LessThan|GreaterThan|Equality|Unequality|Eq|Ne|Lt|Le|Gt|Ge"
    r"|[Tt]rue|[Ff]alse|positive|nonnegative|integer|real|precision|oo|int_oo|[suz]\d+"
)
# Free text: quoted wherever it is used, or not used when a program is read.
FREE = frozenset({"as_string", "as_strings", "metadata", "guards_code", "torch_version"})
SPECS = frozenset({"in_spec", "out_spec"})
SPEC_TYPES = frozenset(
    {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
)


def read_exported(path: Path) -> nn.Module:
    """Return the module of a file of `torch.export.save`.

    `torch.export.load` itself unpickles, imports and evaluates what a file says. So the file is
    looked through first, and whatever is not a plain program of ATen operators is refused.

    Raises
    ------
    ModelError
        When it is none, or holds what could do more than compute.
    """
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_archive(archive)
        # Without guards: they are Python code; the shapes of what comes out are checked anyway.
        return torch.export.load(io.BytesIO(content)).module(check_guards=False)
    except ModelError as error:
        raise ModelError(f"{path.name} is refused: {error}") from error
    except Exception as error:  # whatever torch raises over a damaged program
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise ModelError(
            f"{path.name} is no torch.export file that PyTorch {torch.__version__} can read "
            f"({reason}); write it by torch.export.save, with this version or an older one"
        ) from error


def _check_archive(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    members = {name.partition("/")[2]: name for name in names}
    strange = [member for member in members if not MEMBERS.fullmatch(member)]
    if strange or len(members) != len(names):
        raise ModelError(
            f"it holds {strange[0] if strange else 'a part twice'}, which is pickled, compiled or "
            "of an older layout; save a program without custom objects by torch.export.save"
        )
    for member, name in members.items():
        if member.endswith("_config.json"):
            if any(entry.get("use_pickle") for entry in _entries(archive.read(name))):
                raise ModelError("it holds pickled tensors; save it with plain, dense weights")
        elif member == "models/model.json":
            _check_program(json.loads(archive.read(name)))
        elif member.startswith("data/sample_inputs/") and archive.getinfo(name).file_size:
            try:
                torch.load(io.BytesIO(archive.read(name)), weights_only=True)
            except Exception as error:
                raise ModelError("its example inputs are pickled objects, not tensors") from error


def _entries(config: bytes) -> Iterator[Mapping[str, Any]]:
    for entry in json.loads(config)["config"].values():
        if not NAMES.fullmatch(entry["path_name"]):
            raise ModelError(f"the part {entry['path_name']!r} of it has no plain name")
        yield entry


def _check_program(value: Any, key: str = "") -> None:
    """Check that a program has only names where strings could be run."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not NAMES.fullmatch(name) and key != "metadata":
                raise ModelError(f"a name in it is {name!r}")
            if name not in FREE:
                _check_program(part, name)
    elif isinstance(value, list):
        for part in value:
            _check_program(part, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key == "expr_str":
        unquoted = re.sub(r"'[\w.+-]*'", "", text)
        words = re.findall(r"[A-Za-z_]\w*", unquoted)
        if not re.fullmatch(r"[\w\s(),=+*/<>!.-]*", unquoted) or not all(
            SYMBOLS.fullmatch(word) for word in words
        ):
            raise ModelError(f"a size in it is {text[:80]!r}")
    elif key == "target" and "." in text and text.startswith(("torch", "_operator", "math")):
        operator = ATEN_OPERATOR.fullmatch(text)
        computes = operator is not None and only_computes(operator[1], operator[2])
        if not (computes or OPERATORS.fullmatch(text)):
            raise ModelError(
                f"it calls {text[:80]!r}, which is not on the list of operators that only compute"
            )
    elif key in SPECS:
        if text:
            _check_spec(json.loads(text))
    elif not NAMES.fullmatch(text):
        raise ModelError(f"a name in it is {text[:80]!r}")


def _check_spec(spec: Any) -> None:
    """Check how inputs are nested: another type would be imported by its name."""
    if isinstance(spec, list):
        for part in spec:
            _check_spec(part)
    elif isinstance(spec, Mapping):
        if spec.get("type") not in SPEC_TYPES:
            raise ModelError(f"its inputs or outputs are nested in a {spec['type']!r}")
        _check_spec(spec.get("children_spec", []))
