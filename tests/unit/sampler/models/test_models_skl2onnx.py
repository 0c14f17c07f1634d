"""Pipelines of scikit-learn as skl2onnx itself exports them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, LinearHead
from active_learn.errors import ModelError
from active_learn.models import adapt
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

X = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32)
FOUR = (X[:, 0] > 0) + 2 * (X[:, 1] > 1)
TWO = FOUR % 2
NUMBERS = X @ np.arange(6)

pytestmark = pytest.mark.filterwarnings("ignore")


def logits_of(model: Any, y: np.ndarray, **options: Any) -> torch.Tensor:
    return adapt(to_onnx(model.fit(X, y), X[:1], options=options or None))(X).logits


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), PCA(3), LogisticRegression()),
        MLPClassifier(5, random_state=0),
    ],
    ids=["logistic", "scaled", "components", "network"],
)
def test_classifiers(model: Any, zipmap: bool) -> None:
    logits = logits_of(model, FOUR, zipmap=zipmap)
    np.testing.assert_allclose(logits.softmax(1), model.predict_proba(X), atol=2e-4)


def test_a_binary_classifier_has_one_logit() -> None:
    model = LogisticRegression()
    logits = logits_of(model, TWO)
    np.testing.assert_allclose(logits.sigmoid()[:, 0], model.predict_proba(X)[:, 1], atol=1e-4)


@pytest.mark.parametrize("model", [LinearSVC(), RidgeClassifier()], ids=["svc", "ridge"])
@pytest.mark.parametrize("y", [TWO, FOUR], ids=["binary", "four"])
def test_decision_functions(model: Any, y: np.ndarray) -> None:
    logits = logits_of(model, y).squeeze(1)
    np.testing.assert_allclose(logits, model.decision_function(X), atol=1e-4)


@pytest.mark.parametrize(
    "model", [Ridge(), make_pipeline(MinMaxScaler(), LinearRegression())], ids=["ridge", "scaled"]
)
def test_regressors(model: Any) -> None:
    logits = logits_of(model, NUMBERS)[:, 0]
    np.testing.assert_allclose(logits, model.predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(None,), (None, 1)])
def test_texts(shape: tuple[int | None, ...]) -> None:
    texts = ["card lost", "rate of card", "my rate", "lost my card again"] * 5
    model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression())
    exported = to_onnx(
        model.fit(texts, [0, 1, 2, 3] * 5),
        initial_types=[("text", StringTensorType(list(shape)))],
    )
    rows = [{"text": text, "label": 0} for text in texts]
    for samples in (texts, np.array(texts), rows):
        logits = adapt(exported)(samples).logits
        np.testing.assert_allclose(logits.softmax(1), model.predict_proba(texts), atol=2e-4)
    sampler = ActiveSampler("classification", exported, 3, random_state=0)
    assert set(sampler.select(texts)) <= set(texts)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GaussianNB(), r"'Exp' .*; of a linear model .* give LinearHead\(model.coef_, model.inter"),
        (
            OneVsRestClassifier(LogisticRegression()),
            r"OneVsRestClassifier divides the probabilities .* no softmax of a linear layer; fit .*"
            r" or stack the coef_ and intercept_ of its estimators_ to a LinearHead for 'multilab",
        ),
        (
            CalibratedClassifierCV(LogisticRegression(), cv=2),
            r"'Sum' .* one within another \(CalibratedClassifierCV\) that of its estimator",
        ),
        (DecisionTreeClassifier(), "a TreeEnsembleClassifier of scikit-learn has no linear layer"),
        (SVC(kernel="linear"), "a SVMClassifier of scikit-learn has no linear layer; fit a linear"),
    ],
    ids=["naive Bayes", "one against the rest", "calibrated", "tree", "support vectors"],
)
def test_what_is_not_linear_names_the_way_out(model: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as refused:
        logits_of(model, FOUR)
    assert "\n" not in str(refused.value)


def test_estimators_against_the_rest_as_labels() -> None:
    """What the refusal advises: the probabilities before they are divided by their sum."""
    model = OneVsRestClassifier(LogisticRegression()).fit(X, FOUR)
    head = LinearHead(
        np.vstack([one.coef_ for one in model.estimators_]),
        np.concatenate([one.intercept_ for one in model.estimators_]),
    )
    shares = head(X).logits.sigmoid()
    shares = shares / shares.sum(dim=1, keepdim=True)
    np.testing.assert_allclose(shares, model.predict_proba(X), atol=1e-5)
    assert len(ActiveSampler("multilabel", head, 3, random_state=0).select(X)) == 3
