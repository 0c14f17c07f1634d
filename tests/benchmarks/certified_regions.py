"""Is the bound of `active-learn label` kept where spans are labeled, and what does it grant?

    python tests/benchmarks/certified_regions.py --report backend/docs/automatic-labels.md

An answer is right if a text has exactly the spans that are found. Each run draws the labels that
train, the audit labels and the rest anew. Embedded features, as without a model. Once all texts are
asked for, and once those with a span only, which alone can be written as annotations. Also how well
two scores tell right answers from wrong ones: the one that predictions bear, and the product of the
probabilities of all parts, by which answers are granted.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from active_learn.heads import fit_tagging_head
from active_learn.ragged import RaggedArray
from active_learn_backend.learning.heads.region_heads import find_regions
from active_learn_backend.learning.quality.certification import certify
from active_learn_backend.learning.regions.kinds import Words
from active_learn_backend.learning.regions.parts import TaskParts, in_memory
from active_learn_backend.learning.regions.words import word_features
from entity_data import DATASETS, read_texts
from real_data import rows_of
from report import measured_by, parse_options, publish
from sklearn.metrics import roc_auc_score

LABELS, AUDIT = 300, 300
CONFIDENCE = 0.95
ACCURACIES = (0.7, 0.8, 0.9)


def main() -> None:
    arguments = parse_options(__doc__, DATASETS, runs=100)
    rows = [
        "| data | texts | of all | of them right | mean score | AUC | AUC of the score of "
        "predictions | " + " | ".join(f"{one:.0%}: granted, broken" for one in ACCURACIES) + " |",
        "| --- | --- | --- | --- | --- | --- | --- |" + " --- |" * len(ACCURACIES),
        *rows_of(arguments.cases, lambda name: measure(name, arguments.runs)),
    ]
    text = (
        f"{measured_by()}, {arguments.runs} runs, {LABELS} labels, {AUDIT} audit labels.\n\n"
        + "\n".join(rows)
    )
    publish("certified regions", text, arguments.report)


def measure(name: str, runs: int) -> list[str]:
    texts, tags, labels = read_texts(name)
    features = word_features(texts, embedded=True)
    offsets = np.cumsum([0, *map(len, texts)])
    parts = [
        TaskParts(features[start:end], np.stack([np.arange(end - start)] * 2, axis=1))
        for start, end in pairwise(offsets)
    ]
    both = np.array([one_run(parts, tags, labels, seed) for seed in range(runs)])
    rows = []
    for place, which in enumerate(("all", "with a span")):
        results = both[:, place]
        asked, right, score, auc, other = results[:, :5].mean(axis=0)
        shares = " | ".join(
            f"{results[:, at].mean():.0%}, {results[:, at + 1].mean():.1%}"
            for at in range(5, results.shape[1], 2)
        )
        rows.append(
            f"| {name} | {which} | {asked:.0%} | {right:.0%} | {score:.2f} | {auc:.2f} "
            f"| {other:.2f} | {shares} |"
        )
        print(rows[-1], flush=True)
    return rows


def one_run(
    parts: list[TaskParts], tags: list[np.ndarray], labels: tuple[str, ...], seed: int
) -> list[list[float]]:
    """Return what a head finds of all texts, and of those with a span, see `outcome`."""
    order = np.random.default_rng(seed).permutation(len(parts)).tolist()
    training, others = order[:LABELS], order[LABELS:]
    offsets = np.cumsum([0, *(len(parts[at]) for at in training)])
    rows = np.concatenate([parts[at].features for at in training])
    head = fit_tagging_head(
        labels,
        RaggedArray(rows, offsets),
        [tags[at] for at in training],
        round=1,
        encoder="words",
        random_state=0,
    )
    assert head is not None
    found = find_regions(head, Words(), in_memory([parts[at] for at in others], rows.shape[1]))
    right = np.array(
        [np.array_equal(one.tags, tags[at]) for at, one in zip(others, found, strict=True)]
    )
    has_span = np.array([bool(one.regions) for one in found])
    scores = np.array([one.probability for one in found])
    of_predictions = np.array([one.score for one in found])
    return [
        outcome(asked, right, scores, of_predictions)
        for asked in (np.ones_like(has_span), has_span)
    ]


def outcome(
    asked: np.ndarray, right: np.ndarray, scores: np.ndarray, of_predictions: np.ndarray
) -> list[float]:
    """Return shares, two AUCs, and for each accuracy the share granted and whether it is broken."""
    audit = np.arange(len(asked)) < AUDIT
    audit, left = np.flatnonzero(asked & audit), np.flatnonzero(asked & ~audit)
    values = [
        float(asked.mean()),
        float(right[asked].mean()),
        float(scores[asked].mean()),
        *(float(roc_auc_score(right[asked], of[asked])) for of in (scores, of_predictions)),
    ]
    for accuracy in ACCURACIES:
        certificate = certify(scores[audit], ~right[audit], scores[left], accuracy, 1 - CONFIDENCE)
        granted = left[scores[left] >= certificate.threshold] if certificate else left[:0]
        wrong = float((~right[granted]).sum())
        values += [len(granted) / len(left), float(wrong > (1 - accuracy) * len(granted))]
    return values


if __name__ == "__main__":
    main()
