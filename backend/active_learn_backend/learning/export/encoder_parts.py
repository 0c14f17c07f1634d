"""Which part of the graph each encoder of a project becomes."""

from __future__ import annotations

from ...errors import SettingsError
from ...settings import Settings
from ..encoders import Encoder, ImageEncoder, TaskEncoder, TextEncoder
from ..user_models import OwnModel
from .graph_part import GraphPart

__all__ = ["encoder_parts"]

KINDS = ("text", "image")


def encoder_parts(encoder: TaskEncoder | OwnModel, settings: Settings) -> list[GraphPart]:
    """Return the parts whose vectors, side by side, are those that the heads read.

    Raises
    ------
    SettingsError
        When an encoder cannot be put into an ONNX graph.
    """
    if isinstance(encoder, OwnModel):
        from .network_parts import own_model_part  # imports transformers, which takes seconds

        return [own_model_part(encoder, settings)]
    strange = next((field for field in encoder.fields if field.kind not in KINDS), None)
    if strange is not None:
        raise SettingsError(
            f"'{strange.name}' of the labeling config is {strange.kind}, which is decoded by "
            "programs that have no place in an ONNX graph; models of texts and single images can "
            "be exported"
        )
    several = len(encoder.fields) > 1
    return [
        _part(one, f"field{number}_" if several else "")
        for number, one in enumerate(encoder.encoders, 1)
    ]


def _part(encoder: Encoder, prefix: str) -> GraphPart:
    from .embedded_parts import gradients_part, ngrams_part

    if isinstance(encoder, TextEncoder):
        return ngrams_part(prefix)
    if isinstance(encoder, ImageEncoder):
        return gradients_part(prefix)
    from ..encoders.transformer_image import TransformerImageEncoder
    from ..encoders.transformer_text import TransformerTextEncoder
    from .network_parts import image_part, text_part

    if isinstance(encoder, TransformerTextEncoder):
        return text_part(encoder, prefix)
    assert isinstance(encoder, TransformerImageEncoder)
    return image_part(encoder, prefix)
