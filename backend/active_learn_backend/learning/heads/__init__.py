"""Heads: what learns from the embeddings of labeled tasks; one file per problem type."""

from .base import Answer, Head, ProblemType

__all__ = ["Answer", "Head", "ProblemType"]
