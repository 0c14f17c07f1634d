"""The embedding cache against SQLite and LMDB: opening, scanning, random reads, appends.

    pip install lmdb
    python tests/benchmarks/embedding_cache.py --rows 100000     # a minute
    python tests/benchmarks/embedding_cache.py --report FILE     # a Markdown file with marks for it

Each store holds the same float16 vectors under the same keys, on the same disk, and is opened anew
by a process of its own. Files are in the page cache: what is measured is the store, not the disk.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from itertools import islice
from pathlib import Path

import numpy as np
from active_learn_backend.learning.embedding.cache import EmbeddingCache
from active_learn_backend.learning.embedding.key_index import KEY_BYTES
from real_data import ROOT
from report import add_report_option, measured_by, publish

FEATURES = 384
RANDOM_READS = 10_000
APPENDED, CHUNK = 10_000, 64
BUILT = 50_000  # rows written at once when a store is filled


class Store(ABC):
    """One way to keep vectors by key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def open(self) -> None: ...

    @abstractmethod
    def append(self, keys: list[str], vectors: np.ndarray) -> None:
        """Write float16 vectors; they are on the disk when this returns."""

    @abstractmethod
    def read(self, keys: list[str]) -> np.ndarray:
        """Read float32 vectors by key."""

    @abstractmethod
    def scan(self, keys: list[str]) -> float:
        """Pass over every number; the keys are all of them, in the order of filling."""


class MappedFiles(Store):
    """Ours: two files that only grow, mapped into memory."""

    def open(self) -> None:
        self.cache = EmbeddingCache(self.folder, FEATURES)

    def append(self, keys: list[str], vectors: np.ndarray) -> None:
        self.cache.add(keys, vectors)

    def read(self, keys: list[str]) -> np.ndarray:
        return self.cache.get(keys)

    def scan(self, keys: list[str]) -> float:
        return sum(float(bits(block)) for block in self.cache.blocks(keys))


class Sqlite(Store):
    """Blobs in a table without row ids, in WAL mode, synchronized at each commit."""

    def open(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.database = sqlite3.connect(self.folder / "vectors.sqlite3")
        self.database.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA mmap_size=4000000000;"
            "CREATE TABLE IF NOT EXISTS v (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID"
        )

    def append(self, keys: list[str], vectors: np.ndarray) -> None:
        rows = [(bytes.fromhex(key), row.tobytes()) for key, row in zip(keys, vectors, strict=True)]
        with self.database:
            self.database.executemany("INSERT OR IGNORE INTO v VALUES (?, ?)", rows)

    def read(self, keys: list[str]) -> np.ndarray:
        query = "SELECT v FROM v WHERE k = ?"
        rows = [self.database.execute(query, (bytes.fromhex(key),)).fetchone()[0] for key in keys]
        return np.frombuffer(b"".join(rows), np.float16).reshape(-1, FEATURES).astype(np.float32)

    def scan(self, keys: list[str]) -> float:
        total, cursor = 0.0, self.database.execute("SELECT v FROM v")
        while rows := cursor.fetchmany(4096):
            total += float(bits(np.frombuffer(b"".join(row[0] for row in rows), np.float16)))
        return total


class Lmdb(Store):
    """A memory-mapped B+ tree, synchronized at each commit."""

    def open(self) -> None:
        import lmdb

        self.folder.mkdir(exist_ok=True)
        self.environment = lmdb.open(str(self.folder), map_size=2**33)

    def append(self, keys: list[str], vectors: np.ndarray) -> None:
        with self.environment.begin(write=True) as transaction:
            for key, row in sorted(zip(map(bytes.fromhex, keys), vectors, strict=True), key=first):
                transaction.put(key, row.tobytes(), overwrite=False)

    def read(self, keys: list[str]) -> np.ndarray:
        with self.environment.begin(buffers=True) as transaction:
            rows = b"".join(transaction.get(bytes.fromhex(key)) for key in keys)
        return np.frombuffer(rows, np.float16).reshape(-1, FEATURES).astype(np.float32)

    def scan(self, keys: list[str]) -> float:
        total = 0.0
        with self.environment.begin(buffers=True) as transaction:
            values = transaction.cursor().iternext(keys=False)
            while rows := list(islice(values, 4096)):
                total += float(bits(np.frombuffer(b"".join(rows), np.float16)))
        return total


STORES: dict[str, type[Store]] = {
    "memory-mapped files (ours)": MappedFiles,
    "SQLite blobs": Sqlite,
    "LMDB": Lmdb,
}


def first(pair: tuple[bytes, np.ndarray]) -> bytes:
    return pair[0]


def bits(vectors: np.ndarray) -> np.uint64:
    """Read all numbers, at the speed of memory: the exclusive or, 8 bytes at a time."""
    return np.bitwise_xor.reduce(vectors.reshape(-1).view(np.uint64)) & np.uint64(0xFFFF)


def make_keys(start: int, n: int) -> list[str]:
    data = np.random.default_rng([7, start]).bytes(KEY_BYTES * n).hex()
    return [data[at : at + 2 * KEY_BYTES] for at in range(0, len(data), 2 * KEY_BYTES)]


def make_vectors(start: int, n: int) -> np.ndarray:
    rng = np.random.default_rng([8, start])
    return rng.normal(size=(n, FEATURES)).astype(np.float16)


def build(store: Store, n_rows: int) -> float:
    store.open()
    seconds = 0.0
    for start in range(0, n_rows, BUILT):
        n = min(BUILT, n_rows - start)
        keys, vectors = make_keys(start, n), make_vectors(start, n)
        began = time.perf_counter()
        store.append(keys, vectors)
        seconds += time.perf_counter() - began
    return seconds


def measure(name: str, folder: Path, n_rows: int) -> dict[str, float]:
    """Measure one store, in a process of its own."""
    store = STORES[name](folder)
    in_order: list[str] = []
    for start in range(0, n_rows, BUILT):
        in_order += make_keys(start, min(BUILT, n_rows - start))
    chosen = np.random.default_rng(1).permutation(n_rows)[:RANDOM_READS]
    wanted = [in_order[at] for at in chosen]
    before = memory()
    began = time.perf_counter()
    store.open()
    store.read(wanted[:1])
    opened = time.perf_counter() - began
    grown = memory() - before
    seconds = {"open": opened, "memory": grown}
    store.scan(in_order)  # once to have all pages mapped
    actions = {"scan": lambda: store.scan(in_order), "read": lambda: store.read(wanted)}
    for label, action in actions.items():
        times = []
        for _ in range(3):
            began = time.perf_counter()
            action()
            times.append(time.perf_counter() - began)
        seconds[label] = min(times)
    keys, vectors = make_keys(10**9, APPENDED), make_vectors(10**9, APPENDED)
    began = time.perf_counter()
    for start in range(0, APPENDED, CHUNK):
        store.append(keys[start : start + CHUNK], vectors[start : start + CHUNK])
    seconds["append"] = time.perf_counter() - began
    return seconds


def memory() -> float:
    """Memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def bound(n_rows: int) -> float:
    """Seconds for the same pass over the same numbers in plain memory."""
    block = make_vectors(0, BUILT)
    vectors = np.concatenate([block] * (n_rows // BUILT)) if n_rows > BUILT else block[:n_rows]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        for start in range(0, len(vectors), 16384):
            bits(vectors[start : start + 16384])
        times.append(time.perf_counter() - began)
    return min(times) * n_rows / len(vectors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    add_report_option(parser)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        name, folder = arguments.measure
        print(json.dumps(measure(name, Path(folder), arguments.rows)))
        return
    gigabytes = arguments.rows * FEATURES * 2 / 1e9
    lines = [
        "| store | filled, s | opens, s | memory, MB | scan, GB/s | 10,000 random reads, s "
        "| 10,000 durable appends by 64, s | on disk, GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    work = ROOT / ".cache"
    work.mkdir(exist_ok=True)
    for name, kind in STORES.items():
        folder = Path(tempfile.mkdtemp(dir=work))
        try:
            filled = build(kind(folder / "store"), arguments.rows)
            command = [sys.executable, __file__, "--rows", str(arguments.rows)]
            command += ["--measure", name, str(folder / "store")]
            found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            size = sum(file.stat().st_size for file in (folder / "store").iterdir()) / 1e9
        except ImportError as error:
            print(f"{name}: skipped, {error}")
            continue
        finally:
            shutil.rmtree(folder)
        lines.append(
            f"| {name} | {filled:.0f} | {found['open']:.2f} | {found['memory']:.0f} "
            f"| {gigabytes / found['scan']:.1f} | {found['read']:.2f} | {found['append']:.1f} "
            f"| {size:.2f} |"
        )
        print(lines[-1], flush=True)
    lines.append(
        f"| the same pass over an array in memory | | | | {gigabytes / bound(arguments.rows):.1f} "
        "| | | |"
    )
    report = (
        f"{measured_by()}: {arguments.rows:,} vectors of "
        f"{FEATURES} float16 ({gigabytes:.2f} GB), in the page cache, one thread. Opening ends "
        "with the first vector read; a scan looks up all keys in the order of filling.\n\n"
        + "\n".join(lines)
    )
    publish("embedding cache", report, arguments.report)


if __name__ == "__main__":
    main()
