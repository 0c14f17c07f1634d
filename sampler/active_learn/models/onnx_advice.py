"""What to do with an ONNX file that ends with no linear layer."""

from __future__ import annotations

from collections import Counter

from onnx import GraphProto

__all__ = ["advice"]

# Operators for models of scikit-learn that are not linear.
NOT_LINEAR = {
    "SVMClassifier", "SVMRegressor", "TreeEnsemble", "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
}  # fmt: skip


def advice(graph: GraphProto, last: str) -> str:
    """Return what to do where a model ends with another operator than those of a linear layer."""
    operators = Counter(one.op_type for one in graph.node)
    if not any(one.domain == "ai.onnx.ml" for one in graph.node):
        return "export the model so that it ends with its linear layer"
    no_embedding = sorted(NOT_LINEAR.intersection(operators))
    if no_embedding:
        return (
            f"a {no_embedding[0]} of scikit-learn has no linear layer; fit a linear model, or give "
            "a callable that returns (logits, embedding)"
        )
    if last == "LpNormalization" or (last == "Div" and operators["LinearClassifier"] > 1):
        return (
            "OneVsRestClassifier divides the probabilities of its classifiers by their sum, which "
            "is no softmax of a linear layer; fit the classifier without it, or stack the coef_ "
            "and intercept_ of its estimators_ to a LinearHead for 'multilabel'"
        )
    return (
        "of a linear model of scikit-learn give LinearHead(model.coef_, model.intercept_), of one "
        "within another (CalibratedClassifierCV) that of its estimator"
    )
