"""Label transitions: which tag follows which, counted, and the best tags of whole sequences.

The counts are of the labeled sequences; nothing is trained. Decoding maximizes over the tags y

    Σ_t log p(y_t | x_t) + strength · (log T(y_t | y_t−1) − log π(y_t))

where T are the transitions and π the shares of the tags: p already knows how frequent a tag is.

References
----------
A. Viterbi: Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding Algorithm.
IEEE Transactions on Information Theory 13 (1967).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Counts", "Transitions", "best_tags", "runs_of"]

Array = npt.NDArray[np.float64]
Tags = npt.NDArray[np.int64]

# Cells (sequences x length x tags) that one pass of the decoder keeps the way back for.
CELLS = 2**24
LEAST = 1e-9  # added to probabilities before their logarithm


@dataclass(frozen=True)
class Counts:
    """How often a sequence starts with a tag, (K,), and a tag follows another, (K, K)."""

    starts: Tags
    pairs: Tags

    @classmethod
    def of(cls, tags: Tags, offsets: Tags, n_tags: int) -> Counts:
        """Return the counts of sequences, laid out flat; tags below 0 are not known."""
        first = offsets[:-1][np.diff(offsets) > 0]
        follows = np.ones(len(tags), bool)
        follows[first] = False
        after = np.flatnonzero(follows)
        before = after - 1
        known = (tags[after] >= 0) & (tags[before] >= 0)
        flat = tags[before][known] * n_tags + tags[after][known]
        pairs = np.bincount(flat, minlength=n_tags * n_tags).reshape(n_tags, n_tags)
        starts = tags[first]
        return cls(np.bincount(starts[starts >= 0], minlength=n_tags), pairs)

    def transitions(self) -> Transitions:
        """Return the logarithms, with one count added to each."""
        pairs, starts = self.pairs + 1.0, self.starts + 1.0
        share = np.log(pairs.sum(axis=0) / pairs.sum())
        step = np.log(pairs / pairs.sum(axis=1, keepdims=True)) - share
        return Transitions(np.log(starts / starts.sum()) - share, step)


@dataclass(frozen=True)
class Transitions:
    """Logarithms of how much likelier a tag is first, (K,), or after another one, (K, K)."""

    start: Array
    step: Array


def best_tags(
    probabilities: npt.NDArray[np.floating],
    offsets: Tags,
    transitions: Transitions,
    strength: float,
) -> Tags:
    """Return the best tags of all sequences, laid out flat, (n,).

    Parameters
    ----------
    probabilities : array of shape (n, K)
        Of each tag, for the parts of all sequences.
    offsets : array of shape (N + 1,)
    transitions : Transitions
    strength : float
        0: the likeliest tag of each part.
    """
    if not strength or not len(probabilities):
        return probabilities.argmax(axis=1).astype(np.int64)
    logs = np.log(probabilities + LEAST).astype(np.float64)
    tags = np.empty(len(logs), np.int64)
    sizes = np.diff(offsets)
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    at = 0
    while at < len(order):  # the longest first: those that still go on are always in front
        longest = int(sizes[order[at]])
        block = order[at : at + max(1, CELLS // (longest * logs.shape[1]))]
        _decode(logs, offsets[block], sizes[block], transitions, strength, tags)
        at += len(block)
    return tags


def _decode(
    logs: Array,
    first: Tags,
    sizes: Tags,
    transitions: Transitions,
    strength: float,
    tags: Tags,
) -> None:
    """Decode sequences of descending size side by side, and write their tags."""
    step = strength * transitions.step
    going = [int((sizes > t).sum()) for t in range(int(sizes[0]))]
    back = [np.zeros((0, 0), np.int16)] * len(going)
    best = logs[first] + strength * transitions.start
    for t in range(1, len(going)):
        n = going[t]
        path = best[:n, :, None] + step
        back[t] = path.argmax(axis=1).astype(np.int16)
        best[:n] = path.max(axis=1) + logs[first[:n] + t]
    tag = best.argmax(axis=1)
    for t in range(len(going) - 1, -1, -1):
        n = going[t]
        tags[first[:n] + t] = tag[:n]
        if t:
            tag[:n] = back[t][np.arange(n), tag[:n]]


def runs_of(tags: Tags, offsets: Tags, begins: npt.NDArray[np.bool_] | None = None) -> Tags:
    """Return (start, stop, tag) of each run of one tag above 0, (m, 3); rows of all sequences.

    A run ends with its sequence, and before a part that begins one.
    """
    change = np.ones(len(tags), bool)
    change[1:] = tags[1:] != tags[:-1]
    change[offsets[:-1][np.diff(offsets) > 0]] = True
    if begins is not None:
        change |= begins
    start = np.flatnonzero(change)
    stop = np.append(start[1:], len(tags))
    inside = tags[start] > 0
    return np.stack([start[inside], stop[inside], tags[start[inside]]], axis=1)
