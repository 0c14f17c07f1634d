"""The transformer of a token classifier in an ONNX file, in the place of one of PyTorch.

Optimum writes such a folder: ``model.onnx`` beside ``config.json`` and the tokenizer. Its file
gives logits only; the hidden states are what its last linear layer reads, wherever that is in the
graph, so that an output for them is not needed.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from active_learn.errors import ModelError
from active_learn.models.onnx_files import load_model
from active_learn.models.onnx_graph import expose, find_last_linear
from active_learn.models.onnx_model import open_session, read_inputs
from torch import nn

from ...errors import SettingsError
from .files import onnx_device

__all__ = ["OnnxTokens"]

TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}


class OnnxTokens(nn.Module):
    """Gives the hidden states and logits of tokens, called as models of transformers are.

    Parameters
    ----------
    path : Path
        The ONNX file.
    config : PretrainedConfig
    device : torch.device
        Where ONNX Runtime runs; what goes in and out is on the CPU.

    Raises
    ------
    SettingsError
        When it takes other inputs than those of a tokenizer.
    ModelError
        When it cannot be read, or has no linear layer at its end.
    """

    def __init__(self, path: Path, config: Any, device: torch.device) -> None:
        super().__init__()
        self.config = config
        self.on_cpu = nn.Parameter(torch.empty(0), requires_grad=False)  # says where inputs go
        model, folder = load_model(path)
        layer = find_last_linear(model.graph)
        layer.add_to(model.graph)
        self._outputs = [layer.embedding, layer.logits]
        provider = f"{onnx_device(device).upper()}ExecutionProvider"
        self._session = open_session(expose(model, self._outputs), folder, provider)
        self._inputs = read_inputs(self._session)
        for one in self._inputs:
            known = one.name in ("input_ids", "attention_mask", "token_type_ids")
            if not known or one.type not in TYPES:
                raise SettingsError(
                    f"MODEL '{path.parent.name}' takes '{one.name}' as {one.type}; expected "
                    "input_ids, attention_mask and token_type_ids as whole numbers, as optimum "
                    "exports a token classifier"
                )

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> SimpleNamespace:
        """Return the logits of tokens, and ``hidden_states`` of which there is the last layer."""
        given = {
            "input_ids": input_ids.numpy(),
            "attention_mask": attention_mask.numpy(),
            "token_type_ids": np.zeros(tuple(input_ids.shape), np.int64),
        }
        feed = {one.name: given[one.name].astype(TYPES[one.type]) for one in self._inputs}
        try:
            found = self._session.run(self._outputs, feed)
        except Exception as error:  # whatever ONNX Runtime raises
            line = str(error).splitlines()[0][:200]
            raise ModelError(f"ONNX Runtime cannot run the model: {line}") from error
        states, logits = (torch.from_numpy(np.asarray(one, np.float32)) for one in found)
        n_classes = len(self.config.id2label)
        expected = (*input_ids.shape, n_classes)
        if logits.shape != expected or states.shape[:-1] != input_ids.shape:
            raise ModelError(
                f"it gives logits of shape {tuple(logits.shape)} of hidden states of shape "
                f"{tuple(states.shape)}; expected {expected}: a number for each of the {n_classes} "
                "classes of config.json and each token"
            )
        return SimpleNamespace(hidden_states=(states,), logits=logits)
