"""Dense reference versions: Fisher embeddings as vectors of K * d numbers, inverses by `inv`.

Slow and plain on purpose; the engine has to pick the same.
"""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def fisher_embeddings(logits: np.ndarray, h: np.ndarray, rank: int = 1) -> np.ndarray:
    """(n, K * d, R): columns √p_y (e_y − p) ⊗ h for the R likeliest classes y."""
    p = softmax(logits)
    n, k = p.shape
    out = np.zeros((n, k * h.shape[1], rank))
    for i in range(n):
        for r, y in enumerate(np.argsort(-p[i], kind="stable")[:rank]):
            out[i, :, r] = np.kron(np.sqrt(p[i, y]) * (np.eye(k)[y] - p[i]), h[i])
    return out


def gradient_embeddings(logits: np.ndarray, h: np.ndarray) -> np.ndarray:
    """(n, K * d, 1): (e_ŷ − p) ⊗ h, ŷ the likeliest class."""
    p = softmax(logits)
    k = p.shape[1]
    rows = [np.kron(np.eye(k)[p[i].argmax()] - p[i], h[i]) for i in range(len(p))]
    return np.array(rows)[:, :, None]


def information(u: np.ndarray, ridge: float) -> np.ndarray:
    """λI + Σ u uᵀ over samples u of shape (n, D, R)."""
    return ridge * np.eye(u.shape[1]) + np.einsum("nar,nbr->ab", u, u)


def bait(
    u: np.ndarray, references: np.ndarray, labeled: np.ndarray, k: int, ridge: float
) -> tuple[list[int], list[np.ndarray]]:
    """Greedy A-optimal design: the pick that leaves the least tr(M F), F over the references."""
    fisher = np.einsum("nar,nbr->ab", references, references)
    inverse = np.linalg.inv(information(labeled, ridge))
    picked: list[int] = []
    gains = []
    for _ in range(k):
        gain = np.full(len(u), -np.inf)
        for i in range(len(u)):
            if i not in picked:
                after = np.linalg.inv(np.linalg.inv(inverse) + u[i] @ u[i].T)
                gain[i] = np.trace(inverse @ fisher) - np.trace(after @ fisher)
        best = int(gain.argmax())
        picked.append(best)
        gains.append(gain)
        inverse = np.linalg.inv(np.linalg.inv(inverse) + u[best] @ u[best].T)
    return picked, gains


def logdet(
    u: np.ndarray, labeled: np.ndarray, k: int, ridge: float
) -> tuple[list[int], list[np.ndarray]]:
    """Greedy D-optimal design: the pick that raises log det of the information the most."""
    info = information(labeled, ridge)
    picked: list[int] = []
    gains = []
    for _ in range(k):
        before = np.linalg.slogdet(info)[1]
        gain = np.full(len(u), -np.inf)
        for i in range(len(u)):
            if i not in picked:
                gain[i] = np.linalg.slogdet(info + u[i] @ u[i].T)[1] - before
        best = int(gain.argmax())
        picked.append(best)
        gains.append(gain)
        info = info + u[best] @ u[best].T
    return picked, gains


def vessal(
    u: np.ndarray,
    labeled: np.ndarray,
    k: int,
    ridge: float,
    uniforms: np.ndarray,
    precompute: bool,
) -> list[int]:
    """Streaming volume sampling, Saran et al., ICML 2023, algorithm 1, rank 1 or the trace form.

    The probability of x_t is ``rate · tr(uᵀMu) / tr(Σ_t M)`` with Σ_t the mean of u uᵀ over what
    has passed (labeled data has), x_t included, or over everything when precomputed.
    """
    n = len(u)
    inverse = np.linalg.inv(information(labeled, ridge))
    total = np.einsum("nar,nbr->ab", labeled, labeled)
    if precompute:
        total = total + np.einsum("nar,nbr->ab", u, u)
    passed = len(labeled)
    picked: list[int] = []
    for t in range(n):
        if len(picked) == k:
            break
        passed += 1
        if not precompute:
            total = total + u[t] @ u[t].T
        count = n + len(labeled) if precompute else passed
        rate = (k - len(picked)) / (n - t)
        mean = np.trace(total @ inverse) / count
        probability = rate * np.trace(u[t].T @ inverse @ u[t]) / mean if mean > 0 else rate
        if uniforms[t] < probability or n - t <= k - len(picked):
            picked.append(t)
            inverse = np.linalg.inv(np.linalg.inv(inverse) + u[t] @ u[t].T)
    return picked
