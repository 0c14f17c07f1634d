"""A small classifier, and how it becomes a file that runs without its class."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["Classifier", "export"]


class Classifier(nn.Module):
    """Two layers over every token, of which the last token counts."""

    def __init__(self, n_outputs: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, n_outputs, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(self.drop(torch.relu(self.body(x))))[:, -1], dim=-1)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x)))[:, -1]


def export(module: nn.Module) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    inputs = (torch.zeros(2, 3, 4),)
    return torch.export.export(module.eval(), inputs, dynamic_shapes=({0: batch},))
