"""Small modules of PyTorch, and how a classifier is made of one."""

from __future__ import annotations

import torch
from active_learn.models import adapt
from torch import nn


def classify(module, samples, **options):
    return adapt(module, **options)(samples)


class Ending(nn.Module):
    """A linear layer and whatever comes after it."""

    def __init__(self, end, n_outputs=3):
        super().__init__()
        self.body = nn.Linear(5, 4)
        self.head = nn.Linear(4, n_outputs)
        self.end = end

    def forward(self, x):
        return self.end(self.head(torch.relu(self.body(x))))

    def logits(self, x):
        with torch.no_grad():
            return self.head(torch.relu(self.body(x)))


def assert_linear(module, x, embedding=None, batch_sizes=("auto", 7, 1)):
    """Check that the module's outputs are read, and are linear in the embedding that is read."""
    module.eval()
    with torch.no_grad():
        expected = torch.as_tensor(module(x)).reshape(len(x), -1)
    for batch_size in batch_sizes:
        adapter = adapt(module, batch_size=batch_size)
        output = adapter(x)
        torch.testing.assert_close(output.logits, expected, rtol=1e-4, atol=1e-5)
        linear = output.embedding @ adapter.weight.T + adapter.bias
        torch.testing.assert_close(linear, expected, rtol=1e-4, atol=1e-5)
        if embedding is not None:
            torch.testing.assert_close(output.embedding, embedding(x), rtol=1e-4, atol=1e-5)
    return output


class Tokens(nn.Module):
    """A head on every token, and what is made of the results."""

    def __init__(self, end):
        super().__init__()
        self.head, self.end = nn.Linear(5, 3), end

    def forward(self, x):
        return self.end(self.head(torch.tanh(x)))
