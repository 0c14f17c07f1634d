"""What describes a trained head beside its weights."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .base import ProblemType
from .hyperparameters import Hyperparameters
from .random_cosines import RandomCosines

__all__ = ["ClassWeight", "HeadConfig", "HeadMetadata"]

ClassWeight = Literal["none", "balanced"]


class HeadConfig(BaseModel):
    """How a head is trained: everything but the labels and the hyperparameters.

    Attributes
    ----------
    labels_offered : tuple of str
        The labels of the config, in its order; empty in regression.
    class_weight : {'none', 'balanced'}
        'balanced': each class (each side of each label, in multilabel) weighs the same in all.
        Regression has no classes.
    bounds : (float, float) or None
        Least and greatest answer in regression.
    encoder : str
        Fingerprint of the encoder of the embeddings; the head answers for no others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    labels_offered: tuple[str, ...]
    class_weight: ClassWeight = "none"
    bounds: tuple[float, float] | None = None
    encoder: str = ""


class HeadMetadata(BaseModel):
    """What describes a head beside its weights; saved as JSON with them.

    Attributes
    ----------
    problem_type : {'classification', 'regression', 'multilabel'}
    config : HeadConfig
    hyperparameters : Hyperparameters
    classes : tuple of str
        The class or label of each output; empty in regression.
    noise_variance : float or None
        Variance of the labels around the prediction, in regression.
    n_features : int or None
        Length of the embeddings, where the head is linear in random cosines of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    problem_type: ProblemType
    config: HeadConfig
    hyperparameters: Hyperparameters
    classes: tuple[str, ...] = ()
    noise_variance: Annotated[float, Field(ge=0)] | None = None
    n_features: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        offered = self.config.labels_offered
        fits = {
            "classification": len(set(self.classes)) == len(self.classes) >= 2,
            "multilabel": len(self.classes) >= 1 and self.classes == offered,
            "regression": not self.classes,
        }
        if not fits[self.problem_type]:
            raise ValueError(f"its classes do not fit {self.problem_type}")
        bent = self.hyperparameters.width is not None
        if bent != (self.n_features is not None) or (bent and self.problem_type != "regression"):
            raise ValueError("the width of its random cosines does not fit the rest")
        return self

    @property
    def cosines(self) -> RandomCosines | None:
        """The random cosines that the head is linear in; None where it is so in the embeddings."""
        if self.n_features is None or self.hyperparameters.width is None:
            return None
        return RandomCosines(self.n_features, self.hyperparameters.width)
