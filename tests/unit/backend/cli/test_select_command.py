"""`active-learn select`: JSON lines through a pipe."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_models
import torch
from active_learn import ActiveSampler
from active_learn.errors import DataError
from active_learn.models import LinearHead
from active_learn_backend.cli.jsonl import Candidates
from active_learn_backend.cli.main import main
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

COMMAND = [sys.executable, "-m", "active_learn_backend.cli", "select"]
FEATURES, CLASSES = 4, 3
WEIGHT = np.random.default_rng(0).normal(size=(CLASSES, FEATURES)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One linear classifier as ONNX and as TorchScript, a text classifier as a folder."""
    folder = tmp_path_factory.mktemp("models")
    head = torch.nn.Linear(FEATURES, CLASSES, bias=False)
    head.weight.data = torch.from_numpy(WEIGHT)
    torch.jit.script(torch.nn.Sequential(torch.nn.Identity(), head)).save(folder / "m.pt")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)],
        "linear",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", FEATURES])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", CLASSES])],
        [onnx.numpy_helper.from_array(WEIGHT, "w")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), folder / "m.onnx")
    texts = tiny_models.save_bert(folder / "bert", "BertForSequenceClassification", num_labels=3)
    return {"onnx": folder / "m.onnx", "torchscript": folder / "m.pt", "folder": texts}


def arrays(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)


def as_lines(values: Any, field: str | None = "input") -> bytes:
    rows = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    records = rows if field is None else [{"id": n, field: row} for n, row in enumerate(rows)]
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def run(lines: bytes, *options: str | Path) -> Result:
    arguments = ["select", "--problem-type", "classification", "--random-state", "3"]
    return CliRunner().invoke(main, [*arguments, *map(str, options)], input=lines)


TEXTS = [" ".join(random.Random(n).choices(tiny_models.WORDS, k=6)) for n in range(150)]


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_it_chooses_what_the_library_chooses(kind: str, models: dict[str, Path]) -> None:
    values = arrays(300)
    result = run(as_lines(values), "--model", models[kind], "--budget", "0.1")
    assert result.exit_code == 0, result.output
    chosen = [json.loads(line)["id"] for line in result.stdout.splitlines()]
    sampler = ActiveSampler("classification", LinearHead(WEIGHT), 0.1, random_state=3)
    expected = [index for _, index in sampler.select(iter(values), return_indices=True)]
    assert chosen == expected
    assert 20 <= len(chosen) <= 40


def test_lines_come_out_as_they_went_in(models: dict[str, Path]) -> None:
    lines = [b'{"input":  [1, 2.50, 3, 4], "note": "caf\\u00e9" }\r\n', b" [4, 3, 2,1]\n", b"\n"]
    lines.append(b"[0, 0, 0, 1]")  # without an end
    result = run(b"".join(lines), "--model", models["onnx"], "--budget", "3", "--total", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == b"".join([*lines[:2], lines[3] + b"\n"])


@pytest.mark.parametrize("options", [(), ("--encoder", "minilm"), ("--model", "folder")])
def test_texts_are_read_by_classifiers_and_encoders(
    options: tuple[str, ...], models: dict[str, Path]
) -> None:
    given = [str(models[one]) if one in models else one for one in options]
    records = [{"data": {"words": text}} for text in TEXTS]
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    result = run(lines, *given, "--input-field", "data.words", "--budget", "5", "--total", "150")
    assert result.exit_code == 0, result.output
    chosen = result.stdout.splitlines()
    assert len(set(chosen)) == 5
    assert set(chosen) <= set(lines.decode().splitlines())


def test_what_is_labeled_is_not_chosen_again(models: dict[str, Path], tmp_path: Path) -> None:
    """Two directions; all that is labeled lies along the first, so the second is chosen."""
    directions = np.eye(FEATURES, dtype=np.float32)[:2]
    values = np.repeat(directions, 200, axis=0)[np.random.default_rng(1).permutation(400)]
    labeled = tmp_path / "labeled.jsonl"
    labeled.write_bytes(as_lines(np.repeat(directions[:1], 100, axis=0)))
    options = ["--model", models["onnx"], "--budget", "0.1", "--strategy", "aopt"]

    def share_of_the_second(*more: str | Path) -> float:
        result = run(as_lines(values, None), *options, *more)
        assert result.exit_code == 0, result.output
        chosen = np.array([json.loads(line) for line in result.stdout.splitlines()])
        return float(chosen[:, 1].mean())

    assert share_of_the_second("--labeled", labeled) > share_of_the_second() + 0.1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"not json", "it is not JSON"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b'{"x": 1}', "it has no field 'input'; name one by --input-field"),
        (b'"text"', "reads an array of numbers, and this is a text"),
        (b"null", "this is null"),
        (b"[1, NaN, 2, 3]", "holds NaN"),
        (b"[1, 1e39, 2, 3]", "too large for float32"),
        (b"[[1], [2, 3]]", "rows of different lengths"),
        (b'["a", "b", "c", "d"]', "does not hold numbers only"),
        (b"[]", "or none"),
        (b"[1, 2]", "shape (2,), the first line's has (4,)"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named_or_left_out(line: bytes, words: str, models: dict[str, Path]) -> None:
    lines = as_lines(arrays(2)) + b"\n" + line + b"\n" + as_lines(arrays(2))
    options = ["--model", models["torchscript"], "--budget", "4", "--total", "4"]
    result = run(lines, *options)
    assert result.exit_code == 1
    assert "Error: standard input, line 4: " in result.stderr
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    result = run(lines, *options, "--skip-bad")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 4
    assert "1 lines could not be read" in result.stderr


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_no_bytes_are_more_than_an_error_of_ours(noise: bytes) -> None:
    for texts in (True, False):
        strict = Candidates("x", "text", texts=texts, whole_numbers=False, skip_bad=False)
        lenient = Candidates("x", "text", texts=texts, whole_numbers=False, skip_bad=True)
        left = list(lenient.read(BytesIO(noise)))
        if lenient.bad:
            with pytest.raises(DataError, match=r"^x, line \d+: "):
                list(strict.read(BytesIO(noise)))
        else:
            assert len(list(strict.read(BytesIO(noise)))) == len(left)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "10"], "needs --total"),
        (["--budget", "half"], "is no number"),
        (["--budget", "1.5"], "expected a whole number"),
        (["--budget", "10", "--total", "1000"], "ended after 150 of total=1000"),
        (["--budget", "0.1", "--model", "/nowhere.onnx"], "correct --model"),
        (["--budget", "0.1", "--strategy", "kcenter"], "kcenter"),
        (["--budget", "0.1", "--strategy", "nonesuch"], "nonesuch"),
    ],
)
def test_what_cannot_be_done_is_said(options: list[str], words: str) -> None:
    result = run(as_lines(TEXTS, None), *options)
    assert result.exit_code in (1, 2)
    assert words in result.stderr


def test_no_lines_at_all_are_an_error() -> None:
    result = run(b"\n\n", "--budget", "0.1")
    assert result.exit_code == 1
    assert "standard input holds no candidates" in result.stderr


# -- as a process among others --------------------------------------------------------------------


def start(model: Path, *options: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    arguments = ["--problem-type", "classification", "--model", str(model), *options]
    return subprocess.Popen(
        [*COMMAND, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def endless(count: int) -> Iterator[bytes]:
    for seed in range(count):
        yield as_lines(arrays(1000, seed), None)


def test_it_ends_quietly_when_its_reader_has_enough(models: dict[str, Path]) -> None:
    shell = (
        f"yes '[1, 2, 3, 4]' | {' '.join(COMMAND)} --problem-type classification --budget 0.5 "
        f"--model {models['onnx']} | head -n 3; echo ${{PIPESTATUS[1]}}"
    )
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["[1, 2, 3, 4]"] * 3 + ["141"]
    assert done.stderr == ""


def test_a_line_is_decided_before_the_next_is_there_and_ctrl_c_ends_it(
    models: dict[str, Path],
) -> None:
    given = ("--budget", "0.999", "--batch-size", "1", "--progress", "--random-state", "3")
    process = start(models["onnx"], *given)
    assert process.stdin is not None
    assert process.stdout is not None
    for row in arrays(20):
        line = as_lines([row], None)
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == line  # of this seed all are kept
    process.send_signal(signal.SIGINT)
    process.wait(60)  # with its input still open: the end of the input would end it as well
    rest, said = process.communicate()
    assert (process.returncode, rest) == (130, b"")
    assert b"Traceback" not in said
    assert b"chosen=" in said


def test_memory_does_not_grow_with_the_stream(models: dict[str, Path]) -> None:
    def most_memory(thousands: int) -> float:
        process = start(models["onnx"], "--budget", "0.01", "--strategy", "margin")
        assert process.stdin is not None
        with process.stdin as pipe:
            for block in endless(thousands):
                pipe.write(block)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()
        chosen = len(process.stdout.read().splitlines())
        assert 0.8 < chosen / (10 * thousands) < 1.2
        return usage.ru_maxrss / 1024  # MiB

    # 10 times the lines, which take 1.5 MB as text and 8 MB as Python lists.
    assert most_memory(20) < most_memory(2) + 15
