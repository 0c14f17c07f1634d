"""Files of TorchScript, which are programs: only those that do nothing but compute are run.

Loading such a file may run code of it (``__setstate__``), and so may each call (hooks), so what
could do that is refused before it is loaded. Then all its methods are compared with the list of
operators that only compute, before any of them runs.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import ModelError
from .torch_operators import only_computes

__all__ = ["TORCHSCRIPT", "read_torchscript"]

TORCHSCRIPT = (".pt", ".ts", ".torchscript")

# Run without being called, when a file is loaded or before and after each call.
RUN_BY_THEMSELVES = (b"__setstate__", b"__forward_pre_hooks__", b"__forward_hooks__")
# Objects of PyTorch's own C++ classes, which read their state as they like.
FOREIGN_CLASSES = b"torch.classes"


def read_torchscript(path: Path) -> torch.jit.ScriptModule:
    """Return the module of a file of `torch.jit.save`.

    Raises
    ------
    ModelError
        When it is none (files of `torch.save` are pickled and never read), or could do more than
        compute.
    """
    try:
        content = _checked_archive(path)
        module = torch.jit.load(content, map_location="cpu")
        _check_methods(module)
        return module
    except ModelError as error:
        raise ModelError(f"{path.name} is refused: {error}") from error
    except (RuntimeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path.name} is no TorchScript file that can be read; write it by torch.jit.save "
            "(what torch.save writes is pickled, and is not read)"
        ) from error


def _checked_archive(path: Path) -> io.BytesIO:
    """Return the archive written anew, so that PyTorch reads just the parts that were checked."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise ModelError("it holds a part twice; write it by torch.jit.save")
        copy = io.BytesIO()
        with zipfile.ZipFile(copy, "w") as written:
            for name in names:
                if name.endswith(".debug_pkl"):  # only where in the source an error happened
                    continue
                part = archive.read(name)
                _check_part(name, part)
                written.writestr(zipfile.ZipInfo(name), part)
    copy.seek(0)
    return copy


def _check_part(name: str, part: bytes) -> None:
    if name.endswith((".py", ".pkl")):
        if FOREIGN_CLASSES in part:
            raise ModelError(
                "it holds an object of a C++ class of PyTorch, such as quantized weights; save the "
                "model before it is quantized, or as ONNX"
            )
        for hook in RUN_BY_THEMSELVES:
            if hook in part:
                raise ModelError(
                    f"its {hook.decode()} would run without being called; save the model without it"
                )


def _check_methods(module: torch.jit.ScriptModule) -> None:
    """Compare all methods, with what they call, with the list of operators that only compute."""
    for part in module.modules():
        compiled: Any = part._c
        for name in compiled._method_names():
            graph = compiled._get_method(name).graph.copy()
            torch._C._jit_pass_inline(graph)
            for kind in _kinds(graph):
                if not only_computes(*kind.split("::", 1)):
                    raise ModelError(
                        f"it calls {kind}, which is not on the list of operators that only "
                        "compute; save the model without it, or as ONNX"
                    )


def _kinds(block: Any) -> Iterator[str]:
    """Yield the kinds of all nodes, such as ``aten::relu``."""
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)
