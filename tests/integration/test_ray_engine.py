"""The engine on Ray, against a real Ray on this machine: results, resumption, faults."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from active_learn.errors import MissingOptionalDependencyError, ParameterError
from active_learn.partitioned import rank_partitioned
from active_learn_backend import security_checks
from active_learn_backend.demo.process import free_port, wait_until
from active_learn_backend.errors import EngineError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.engines.configured import configured_engine
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.engines.ray.driver import ray_driver
from active_learn_backend.learning.engines.ray.engine import RayEngine
from active_learn_backend.settings import Settings, load_settings
from letter_pools import (
    CONFIG,
    FACTORY,
    configure,
    embedder,
    keys_of,
    kill_later,
    no_report,
    processes,
    sampler,
    some_texts,
    write_tasks,
)
from media_files import audio_file, tone

pytest.importorskip("ray", reason="needs Ray (the extra [ray])")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder for the module, whose one driver all its tests share; and the factory."""
    folder = tmp_path_factory.mktemp("ray-engine")
    (folder / "slow_letters.py").write_text(FACTORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.syspath_prepend(folder)
        patch.setenv("SLOW_LETTERS", str(folder / "notes"))
        # Of a head that is gone Ray gives up after a minute; here sooner.
        patch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
        yield folder
        ray_driver("", folder.resolve() / "ray.log").stop()


@pytest.fixture
def notes(base: Path) -> Callable[[], Counter[str]]:
    """``notes()`` -> how often each text was embedded since the test began."""
    path = base / "notes"
    path.write_text("")
    return lambda: Counter(line.partition(" ")[2] for line in path.read_text().splitlines())


# -- embedding ------------------------------------------------------------------------------------


def test_the_same_vectors_as_on_this_machine_whatever_the_workers(
    base: Path, tmp_path: Path
) -> None:
    texts = some_texts(1500, "same") + ["same 0 twice"] * 2
    listed = tmp_path / "more.json"
    listed.write_text(json.dumps([{"text": text} for text in texts[1400:]]))
    files = [write_tasks(tmp_path / "tasks.jsonl", texts[:1400]), listed]
    found = {}
    for project, (engine, workers) in enumerate([("local", 1), ("ray", 1), ("ray", 2)], start=1):
        settings = configure(base, engine=engine, ray_workers=workers)
        cached = embedder(settings, project)
        seen: list[int] = []
        failed = configured_engine(settings).fill_from_files(
            cached, CONFIG, files, lambda done, _, seen=seen: seen.append(done)
        )
        assert failed == {}
        assert len(cached.cache) == len(set(texts))
        assert seen == sorted(seen)
        found[engine, workers] = cached.cache.get(keys_of(texts))
    assert np.array_equal(found["ray", 1], found["ray", 2])
    np.testing.assert_allclose(found["ray", 1], found["local", 1], atol=1e-3)
    assert not list((base / "projects/3/embeddings").glob("*/shards/*"))  # all taken in


def test_files_are_decoded_on_the_cluster_as_on_this_machine(base: Path, tmp_path: Path) -> None:
    config = CONFIG.replace("<Text ", "<Audio ")
    task = parse_label_config(config)
    assert [field.kind for field in task.fields] == ["audio"]
    sounds = [audio_file(tone(frequency)) for frequency in (300, 500, 900)]
    addresses = ["data:audio/wav;base64," + base64.b64encode(one).decode() for one in sounds]
    file = write_tasks(tmp_path / "tasks.jsonl", [*addresses, "data:audio/wav,no sound"])
    found = {}
    for project, engine in enumerate(("local", "ray"), start=31):
        settings = configure(base, engine=engine, ray_workers=1)
        load = ContentLoader(settings, LabelStudioClient(settings)).load
        cached = TaskEmbedder(settings, project, task, load)
        failed = configured_engine(settings).fill_from_files(cached, config, [file], no_report)
        assert len(failed) == 1
        assert "the audio file cannot be decoded" in str(next(iter(failed.values())))
        keys = [task.content_key({"text": address}) for address in addresses]
        found[engine] = cached.cache.get(keys)
    np.testing.assert_allclose(found["ray"], found["local"], atol=1e-3)


def test_what_is_embedded_is_never_embedded_again(
    base: Path, tmp_path: Path, notes: Callable[[], Counter[str]]
) -> None:
    settings = configure(base, model="slow_letters:make", model_use="encoder")
    texts = some_texts(700, "again")
    engine, cached = configured_engine(settings), embedder(settings, 4)
    one = write_tasks(tmp_path / "one.jsonl", texts[:600])
    assert engine.fill_from_files(cached, CONFIG, [one], no_report) == {}
    assert {text: n for text, n in notes().items() if text in set(texts)} == dict.fromkeys(
        texts[:600], 1
    )
    both = write_tasks(tmp_path / "both.jsonl", texts)
    assert engine.fill_from_files(cached, CONFIG, [both], no_report) == {}
    assert {notes()[text] for text in texts} == {1}


def test_contents_that_fail_are_named_and_cost_no_other(base: Path, tmp_path: Path) -> None:
    """The project's own settings name the model, as here; the engine is the worker's."""
    settings = configure(base, model="slow_letters:make", model_use="encoder")
    texts = [*some_texts(200, "failing"), "broken", "broken too"]
    cached = embedder(settings, 5)
    file = write_tasks(tmp_path / "tasks.jsonl", texts)
    engine = configured_engine(configure(base))
    failed = engine.fill_from_files(cached, CONFIG, [file], no_report)
    assert set(failed) == set(keys_of(["broken", "broken too"]))
    assert "broken on purpose" in str(failed[keys_of(["broken"])[0]])
    assert cached.cache.missing(keys_of(texts)) == [200, 201]


def test_a_worker_that_is_killed_costs_a_chunk_at_most(
    base: Path, tmp_path: Path, notes: Callable[[], Counter[str]]
) -> None:
    settings = configure(base, model="slow_letters:make", model_use="encoder")
    texts = some_texts(2500, "killed")
    cached = embedder(settings, 6)
    file = write_tasks(tmp_path / "tasks.jsonl", texts)

    def busy() -> list[int]:
        lines = (base / "notes").read_text().splitlines()
        return [int(lines[-1].split()[0])] if sum("killed" in one for one in lines) > 400 else []

    killed: list[int] = []
    stop = threading.Event()
    thread = threading.Thread(target=kill_later, args=(busy, killed, stop))
    thread.start()
    try:
        failed = configured_engine(settings).fill_from_files(cached, CONFIG, [file], no_report)
    finally:
        stop.set()
        thread.join()
    assert len(killed) == 1
    assert failed == {}
    assert cached.cache.missing(keys_of(texts)) == []
    counts = notes()
    assert sum(counts[text] == 2 for text in texts) <= 64  # the chunk that it was at
    assert max(counts[text] for text in texts) <= 2


@pytest.mark.soak
def test_a_driver_that_is_killed_is_followed_by_one_that_goes_on(
    base: Path, tmp_path: Path, notes: Callable[[], Counter[str]]
) -> None:
    settings = configure(base, model="slow_letters:make", model_use="encoder")
    texts = some_texts(2500, "driven")
    engine, cached = configured_engine(settings), embedder(settings, 7)
    file = write_tasks(tmp_path / "tasks.jsonl", texts)
    done_at: list[int] = []

    def kill_the_driver(done: int, _: int) -> None:
        if done > 300 and not done_at:
            done_at.append(done)
            driver = ray_driver("", base.resolve() / "ray.log")._manager._process.pid  # type: ignore[union-attr, attr-defined]
            os.kill(driver, signal.SIGKILL)

    with pytest.raises(EngineError, match=r"Ray went away on this machine.*queue stays"):
        engine.fill_from_files(cached, CONFIG, [file], kill_the_driver)
    assert len(cached.cache) >= done_at[0] > 0
    wait_until(
        lambda: not processes(base, "ray::MapWorker"), timeout=30, what="the end of its encoders"
    )
    assert engine.fill_from_files(cached, CONFIG, [file], no_report) == {}
    assert cached.cache.missing(keys_of(texts)) == []
    counts = notes()
    # Two encoders were at a chunk each when they lost their driver.
    assert sum(counts[text] == 2 for text in texts) <= 2 * 64
    assert max(counts[text] for text in texts) <= 2


def test_what_is_wrong_with_a_source_or_an_encoder_is_one_line(base: Path, tmp_path: Path) -> None:
    settings = configure(base)
    engine, cached = configured_engine(settings), embedder(settings, 8)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"data": {"text": "fine"}}\n[1]\n')
    with pytest.raises(EngineError, match=r"bad\.jsonl, line 2: expected a task") as error:
        engine.fill_from_files(cached, CONFIG, [bad], no_report)
    assert "\n" not in str(error.value)
    good = write_tasks(tmp_path / "good.jsonl", some_texts(100, "other"))
    cached.fingerprint = "another"  # as if this machine had other weights than the cluster
    with pytest.raises(EngineError, match=r"a worker of the cluster has the encoder .* another"):
        engine.fill_from_files(cached, CONFIG, [good], no_report)


def test_one_process_at_a_time_embeds_a_project(base: Path, tmp_path: Path) -> None:
    settings = configure(base)
    engine, cached = configured_engine(settings), embedder(settings, 9)
    file = write_tasks(tmp_path / "tasks.jsonl", some_texts(100, "alone"))
    program = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(cached.cache.folder / "shards.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(EngineError, match="another process embeds project 9"):
            engine.fill_from_files(cached, CONFIG, [file], no_report)
        other.communicate(b"\n")
    assert engine.fill_from_files(cached, CONFIG, [file], no_report) == {}


# -- selection ------------------------------------------------------------------------------------


def filled(base: Path, project_id: int, n: int, d: int = 24) -> tuple[Settings, TaskEmbedder]:
    """Return an embedder whose cache holds n vectors under keys 0, 1, 2, ..."""
    settings = configure(base, partition_rows=1000)
    cached = embedder(settings, project_id)
    vectors = np.random.default_rng(2).normal(size=(n, cached.n_features)).astype(np.float32)
    cached.cache.add([f"{at:032x}" for at in range(n)], vectors)
    return settings, cached


def test_the_partitions_of_a_pool_are_ranked_on_the_cluster(base: Path) -> None:
    settings, cached = filled(base, 20, 3500)
    engine = configured_engine(settings)
    vectors = engine.vectors(cached, [f"{at:032x}" for at in range(3500)])
    pool = np.arange(100, 3500)
    chooser = sampler(vectors[np.arange(100)], vectors.shape[1])
    found = engine.rank(chooser, vectors, pool, 60)
    expected = rank_partitioned(chooser, vectors[pool].astype(np.float16), 60, partitions=4)
    assert found.indices.tolist() == expected.indices.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
    again = engine.rank(chooser, vectors, pool, 60)
    assert again.indices.tolist() == found.indices.tolist()
    assert np.array_equal(again.scores, found.scores)


def test_a_small_pool_is_ranked_here(base: Path) -> None:
    settings, cached = filled(base, 21, 900)
    engine = configured_engine(settings.model_copy(update={"ray_address": "127.0.0.1:1"}))
    vectors = engine.vectors(cached, [f"{at:032x}" for at in range(900)])
    chooser = sampler(vectors[np.arange(10)], vectors.shape[1])
    found = engine.rank(chooser, vectors, np.arange(10, 900), 30)
    local = LocalEngine().rank(chooser, vectors[np.arange(900)], np.arange(10, 900), 30)
    assert found.indices.tolist() == local.indices.tolist()


def test_a_worker_that_is_killed_changes_no_ranking(base: Path) -> None:
    settings, cached = filled(base, 22, 4000)
    engine = configured_engine(settings)
    vectors = engine.vectors(cached, [f"{at:032x}" for at in range(4000)])
    chooser = sampler(vectors[np.arange(50)], vectors.shape[1])
    pool = np.arange(50, 4000)
    expected = engine.rank(chooser, vectors, pool, 40)
    killed: list[int] = []
    stop = threading.Event()
    thread = threading.Thread(
        target=kill_later, args=(lambda: processes(base, "ray::select_part_remotely"), killed, stop)
    )
    thread.start()
    try:
        found = engine.rank(chooser, vectors, pool, 40)
    finally:
        stop.set()
        thread.join()
    assert len(killed) == 1
    assert found.indices.tolist() == expected.indices.tolist()
    assert np.array_equal(found.scores, expected.scores)


def test_a_strategy_without_a_partitioned_form_is_refused(base: Path) -> None:
    settings, cached = filled(base, 23, 2500)
    engine = configured_engine(settings)
    vectors = engine.vectors(cached, [f"{at:032x}" for at in range(2500)])
    chooser = sampler(vectors[np.arange(10)], vectors.shape[1], strategy="badge")
    with pytest.raises(ParameterError, match=r"badge.*auto"):
        engine.rank(chooser, vectors, np.arange(2500), 30)


# -- the cluster itself ---------------------------------------------------------------------------


def test_a_head_that_is_not_there_is_told_at_once(base: Path, tmp_path: Path) -> None:
    settings = configure(base, ray_address=f"127.0.0.1:{free_port()}")
    cached = embedder(settings, 30)
    file = write_tasks(tmp_path / "tasks.jsonl", some_texts(100, "nowhere"))
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"Ray does not answer at 127\.0\.0\.1.*RAY_ADDRESS"):
        configured_engine(settings).fill_from_files(cached, CONFIG, [file], no_report)
    assert time.monotonic() - began < 30  # Ray itself asks for minutes


def test_a_cluster_is_used_and_its_loss_is_an_error_in_words(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    head = [Path(sys.executable).with_name("ray"), "start", "--head", "--num-cpus=1", "--block"]
    # Of its own, and short: below it lie sockets, whose paths may have 107 characters.
    home = tempfile.mkdtemp(prefix="ray-")
    command = [*head, f"--port={port}", "--include-dashboard=false", f"--temp-dir={home}"]
    with (tmp_path / "head.log").open("w") as log:
        cluster = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    settings = configure(
        base, ray_address=f"127.0.0.1:{port}", model="slow_letters:make", model_use="encoder"
    )
    driver = ray_driver(settings.ray_address, base.resolve() / "ray.log")
    try:
        wait_until(
            lambda: re.search("Ray runtime started", (tmp_path / "head.log").read_text()),
            timeout=60,
            what="the head of a cluster",
        )
        engine, cached = configured_engine(settings), embedder(settings, 31)
        assert isinstance(engine, RayEngine)
        file = write_tasks(tmp_path / "few.jsonl", some_texts(200, "cluster"))
        assert engine.fill_from_files(cached, CONFIG, [file], no_report) == {}
        assert len(cached.cache) == 200
        small, held = filled(base, 32, 3500)  # on two CPUs of this machine, and on the one there
        vectors = engine.vectors(held, [f"{at:032x}" for at in range(3500)])
        chooser = sampler(vectors[np.arange(100)], vectors.shape[1])
        there = configured_engine(small.model_copy(update={"ray_address": settings.ray_address}))
        rankings = [
            one.rank(chooser, vectors, np.arange(100, 3500), 60)
            for one in (there, configured_engine(small))
        ]
        assert np.array_equal(rankings[0].indices, rankings[1].indices)
        assert np.array_equal(rankings[0].scores, rankings[1].scores)

        def lose_the_head(done: int, _: int) -> None:
            if cluster.poll() is None and done:
                os.killpg(cluster.pid, signal.SIGKILL)
                cluster.wait()

        many = write_tasks(tmp_path / "many.jsonl", some_texts(4000, "lost"))
        with pytest.raises(EngineError, match=r"Ray .*the queue stays as it is"):
            engine.fill_from_files(cached, CONFIG, [many], lose_the_head)
        assert len(cached.cache) > 200  # what was done is kept
    finally:
        driver.stop()
        if cluster.poll() is None:
            os.killpg(cluster.pid, signal.SIGKILL)
            cluster.wait()
        shutil.rmtree(home, ignore_errors=True)


def test_without_ray_the_setting_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security_checks, "find_spec", lambda name: None)
    with pytest.raises(MissingOptionalDependencyError, match=r"pip install '.*\[ray\]'"):
        configured_engine(load_settings(engine="ray"))
    assert isinstance(configured_engine(load_settings()), LocalEngine)
