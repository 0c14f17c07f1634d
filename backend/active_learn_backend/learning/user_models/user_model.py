"""The team's own model, bound to a labeling task: tasks in, rows of the cache out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...errors import ContentError, SettingsError
from ...labeling.config import LabelingTask
from ..encoders.content_reader import ContentReader, run_each
from ..encoders.images import PROBE
from .base import LoadedModel
from .classes import control_of_model
from .head import OwnHead
from .vectors import FloatArray, pack, unit_length

__all__ = ["OwnModel"]


class OwnModel:
    """The team's own model, for one labeling task.

    Parameters
    ----------
    loaded : LoadedModel
    task : LabelingTask
    load : callable
        Gives the bytes of a file, from its address in a task; raises ContentError.
    as_is : bool
        Whether its logits decide; otherwise only its embeddings are used, in unit length.

    Attributes
    ----------
    loaded : LoadedModel
    fields : tuple of Field
        What it reads of a task.
    fingerprint : str
        Names everything that the vectors depend on; fit for a folder's name.
    control : ControlTag
        The first control that it fits, which it answers for where it is used as it is.
    n_features : int
        Length of the vectors: d embeddings and, of a model used as it is, two numbers an output.

    Raises
    ------
    SettingsError
        When the model does not fit the labeling config.
    ModelError
        When it fails, or has no last linear layer.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        task: LabelingTask,
        load: Callable[..., bytes],
        as_is: bool,
    ) -> None:
        self.loaded = loaded
        self._as_is = as_is
        # What it reads it needs, also where that stands beside what is labeled.
        fields = [replace(field, required=True) for field in loaded.inputs.choose(task.fields)]
        strange = next((field for field in fields if field.kind not in ("text", "image")), None)
        if strange is not None:
            raise SettingsError(
                f"MODEL reads texts and single images, and '{strange.name}' of the labeling config "
                f"is {strange.kind}; unset MODEL, and name an encoder by ENCODER"
            )
        self.fields = tuple(fields)
        self._reader = ContentReader(fields, load)
        self._prepare = partial(loaded.inputs.prepare, fields)
        probe = self._prepare([PROBE if field.kind == "image" else "text" for field in fields])
        embedding, logits = self._outputs([probe])
        self.control, self._labels = (
            control_of_model(loaded.classes, logits.shape[1], task.controls)
            if as_is
            else (task.controls[0], ())
        )
        self.fingerprint = f"model-{loaded.digest}" + ("" if as_is else "-encoder")
        self.n_features = embedding.shape[1] + 2 * logits.shape[1] * as_is

    @property
    def digest(self) -> str:
        """Digest of everything that the model's answers depend on."""
        return self.loaded.digest

    def head(self) -> OwnHead | None:
        """Return what answers for the vectors; None of a model that is only an encoder."""
        if not self._as_is:
            return None
        version = f"model-{self.loaded.digest[:8]}"
        return OwnHead(self.control, self._labels, self.n_features, version)

    def encode(
        self, contents: Sequence[Mapping[str, Any]]
    ) -> tuple[FloatArray, dict[int, ContentError]]:
        """Run the model over tasks.

        Returns
        -------
        (array of shape (n, n_features), dict)
            Rows of tasks that failed are zero, and stand in the dict with the reason.
        """
        prepared = self._reader.map(contents, self._prepare)
        failed = {row: p for row, p in enumerate(prepared) if isinstance(p, ContentError)}
        rows = [row for row in range(len(contents)) if row not in failed]
        found = run_each(self._run, [prepared[row] for row in rows])
        vectors = np.zeros((len(contents), self.n_features), np.float32)
        for row, vector in zip(rows, found, strict=True):
            if isinstance(vector, ContentError):
                failed[row] = vector
            else:
                vectors[row] = vector
        return vectors, failed

    def _run(self, prepared: Sequence[Any]) -> FloatArray:
        embedding, logits = self._outputs(prepared)
        if self._as_is:
            return pack(embedding, logits)
        return unit_length(embedding)

    def _outputs(self, prepared: Sequence[Any]) -> tuple[FloatArray, FloatArray]:
        with self.loaded.lock:
            output = self.loaded.adapter(self.loaded.inputs.collate(prepared))
        return output.embedding.cpu().numpy(), output.logits.cpu().numpy()
