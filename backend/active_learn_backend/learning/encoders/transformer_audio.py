"""Audio by any Hugging Face audio model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from active_learn.models.base import ModelOutput
from active_learn.models.torch_module import TorchModule
from transformers import AutoModel

from ...decoders.process import decode, require_decoder
from ...errors import ContentError
from .base import Encoder, FloatArray
from .folders import content_digest
from .hugging_face import load_model, load_processor, unit_vectors

__all__ = ["TransformerAudioEncoder"]

SECONDS = 30.0  # of a file that are read, if the model takes so much
SHORTEST = 0.1  # seconds; shorter ones are continued by silence, since models fold them to nothing


class PooledAudio(TorchModule):
    """The audio model; a file's vector stands for logits and embedding.

    The audio features of CLAP, else the pooled output where its weights are trained, else the mean
    over the time.
    """

    def __init__(self, model: Any, trained_pooler: bool, batch_size: int | str) -> None:
        super().__init__(model, batch_size=batch_size)
        self._trained_pooler = trained_pooler

    def _forward(self, samples: Any) -> ModelOutput:
        vectors = unit_vectors(
            self.module,
            self._inputs(samples),
            "get_audio_features",
            lambda hidden: hidden.mean(dim=1),
            trained_pooler=self._trained_pooler,
        )
        return ModelOutput(vectors, vectors)


class TransformerAudioEncoder(Encoder):
    """Audio by a Hugging Face model (CLAP, Whisper, wav2vec2, HuBERT, AST, ...), in unit length.

    Parameters
    ----------
    folder : Path
        As written by `save_pretrained`, with the feature extractor.
    device : torch.device

    Raises
    ------
    SettingsError
        When the folder holds no such model.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        require_decoder("audio")
        self._lock = threading.Lock()  # the model is not to be run by two threads at once
        self._processor = load_processor(folder, "audio")
        model: Any
        model, missing = load_model(AutoModel, folder, device)
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        self._rate = int(self._processor.sampling_rate)
        # CLAP cuts longer ones at random.
        most = getattr(self._processor, "nb_max_samples", SECONDS * self._rate)
        self._seconds = min(SECONDS, most / self._rate)
        probe = self._features(np.zeros(self._rate, np.float32))
        # Waves are of different lengths, and not every model takes a mask.
        batch_size: int | str = 1 if "input_values" in probe else "auto"
        self._model = PooledAudio(model, not missing, batch_size)
        self.fingerprint = f"audio-hf1-{content_digest(folder)}"
        self.n_features = self.run([probe]).shape[1]

    def prepare(self, raw: bytes) -> dict[str, torch.Tensor]:
        samples = decode("audio", raw, rate=self._rate, seconds=self._seconds)
        assert isinstance(samples, np.ndarray)
        return self._features(samples)

    def run(self, prepared: Sequence[dict[str, torch.Tensor]]) -> FloatArray:
        with self._lock:
            return self._model(list(prepared)).embedding.numpy()

    def _features(self, samples: FloatArray) -> dict[str, torch.Tensor]:
        samples = np.pad(samples, (0, max(0, int(SHORTEST * self._rate) - len(samples))))
        try:
            found = self._processor(samples, sampling_rate=self._rate, return_tensors="pt")
        except (ValueError, TypeError) as error:
            raise ContentError(f"the feature extractor refuses an audio file: {error}") from error
        return {name: values[0] for name, values in found.items() if name != "attention_mask"}
