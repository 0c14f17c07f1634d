"""The head that fine-tuning begins with: the one that is best on the model as it is.

References
----------
A. Kumar, A. Raghunathan, R. Jones, T. Ma, P. Liang: Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution. ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from active_learn.heads import ClassWeight, fit_head
from active_learn.models import ModelOutput, adapt
from active_learn.validation import ProblemType
from sklearn.linear_model import RidgeCV

from .examples import Task
from .losses import loss_function
from .samples import Samples
from .starting_model import StartingModel

__all__ = ["fit_head_first"]

UNSEEN = 3.0  # logits by which a class without a label lies below the others
PENALTIES = tuple(10.0**power for power in range(-3, 4))  # of ridge regression, on unit scale


def fit_head_first(
    start: StartingModel, task: Task, samples: Samples, held_out: Samples, class_weight: ClassWeight
) -> bool:
    """Fit the last layer on the embeddings of the untrained model; return whether it is kept.

    A head that was trained before is replaced only by one that is better on the held-out labels.
    Nothing is done where the labels show no difference yet, or where the last layer reads something
    else than the embedding.
    """
    X, logits = _run(start, samples)
    layer = start.last_layer[1]
    former = _Layer(layer.weight.detach().flatten(1).cpu(), _bias(layer))
    if not torch.allclose(former(X), logits, atol=1e-3, rtol=1e-3):
        return False
    fitted = _fitted(X.numpy(), task, samples, start.model.config.label2id, class_weight)
    if fitted is None:
        return False
    if not start.has_new_head:
        held_X, held_logits = _run(start, held_out)
        loss = loss_function(task.problem_type, samples.targets, logits.shape[1], balanced=False)
        before, after = (
            float(loss(ModelOutput(one, one), held_out.targets))
            for one in (held_logits, fitted(held_X))
        )
        if not after < before:
            return False
    with torch.no_grad():
        layer.weight.copy_(fitted.weight.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.copy_(fitted.bias)
    return True


@dataclass(frozen=True)
class _Layer:
    """Weights (K, d) and biases (K,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        return X @ self.weight.T + self.bias


def _bias(layer: Any) -> torch.Tensor:
    if layer.bias is None:
        return torch.zeros(len(layer.weight))
    return layer.bias.detach().cpu()


def _run(start: StartingModel, samples: Samples) -> tuple[torch.Tensor, torch.Tensor]:
    """Return embeddings and logits of samples."""
    adapter = adapt((start.model, start.processor))
    output = ModelOutput.cat(adapter(chunk) for chunk in samples.inputs())
    return output.embedding.float().cpu(), output.logits.float().cpu()


def _fitted(
    X: npt.NDArray[np.float32],
    task: Task,
    samples: Samples,
    places: dict[str, int],
    class_weight: ClassWeight,
) -> _Layer | None:
    """Return weights (K, d) and biases (K,) in the model's order of the outputs."""
    scale = np.float32(np.linalg.norm(X, axis=1).mean() or 1.0)
    X = X / scale
    labels = [example.label for example in samples.examples]
    if task.problem_type == "regression":
        ridge = RidgeCV(PENALTIES).fit(X, labels)
        return _layer(ridge.coef_[None] / scale, np.array([ridge.intercept_]))
    problem: ProblemType = task.problem_type  # type: ignore[assignment]
    head = fit_head(problem, task.labels, X, labels, round=0, class_weight=class_weight)
    if head is None:
        return None
    temperature = head.metadata.hyperparameters.temperature
    weight = np.zeros((len(places), X.shape[1]))
    bias = np.full(len(places), head.bias.min() / temperature - UNSEEN)
    rows = [places[label] for label in head.classes]
    weight[rows] = head.weight / temperature / scale
    bias[rows] = head.bias / temperature
    return _layer(weight, bias)


def _layer(weight: npt.NDArray[Any], bias: npt.NDArray[Any]) -> _Layer:
    return _Layer(
        torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)
    )
