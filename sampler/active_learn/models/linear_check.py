"""The check that every adapter passes: ``embedding @ weight.T + bias`` gives the logits."""

from __future__ import annotations

import torch

from ..errors import ModelError

__all__ = ["require_linear", "require_linear_fit"]


def require_linear(
    logits: torch.Tensor,
    embedding: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    dtype: torch.dtype,
    source: str,
    advice: str = "choose the last linear layer by layer=",
) -> None:
    """Check ``embedding @ weight.T + bias`` against the logits.

    Parameters
    ----------
    logits, embedding, weight, bias : Tensor
        float32, of shapes (n, K), (n, d), (K, d) and (K,).
    dtype : torch.dtype
        What the model computed in: the bound is the rounding error of that type, or of float32
        where that is larger, ``8 sqrt(d) eps (|embedding| @ |weight|.T + |bias|)`` in each logit.
    source : str
        Names the layer or node in the message.
    advice : str
        What to do, beside giving a callable.

    Raises
    ------
    ModelError
        When a logit is off by more than rounding.
    """
    if weight.ndim != 2 or (logits.shape[1], embedding.shape[1]) != tuple(weight.shape):
        raise ModelError(
            f"{source} has weight {tuple(weight.shape)}, which does not lead from embeddings of "
            f"size {embedding.shape[1]} to {logits.shape[1]} logits"
        )
    error = torch.nn.functional.linear(embedding, weight, bias).sub_(logits).abs_()
    if not error.any():  # the same product: most layers; a bound would cost a second one
        return
    size = torch.addmm(bias.abs(), embedding.abs(), weight.abs().T).add_(logits.abs())
    eps = max(torch.finfo(dtype).eps, torch.finfo(logits.dtype).eps)
    if dtype == torch.float32 and logits.is_cuda and torch.backends.cuda.matmul.allow_tf32:
        eps = 2.0**-10
    bound = 8 * max(1.0, embedding.shape[1] ** 0.5) * eps
    # NaN compares false on purpose: it is reported as such by the caller.
    off = error > size.mul_(bound)
    if off.any():
        worst = float(error[off].max())
        raise ModelError(
            f"embedding @ weight.T + bias does not reproduce the logits of {source} (off by up to "
            f"{worst:.3g}); {advice}, or give a callable that returns (logits, embedding)"
        )


def require_linear_fit(logits: torch.Tensor, embedding: torch.Tensor) -> None:
    """Check that some linear layer leads from the embeddings to the logits.

    Needs more than d + 1 rows to say anything; the fit is by least squares in float64.

    Raises
    ------
    ModelError
        When the best linear layer misses the logits by more than 1 % of their spread.
    """
    ones = embedding.new_ones(embedding.shape[0], 1)
    design = torch.cat([embedding, ones], dim=1).double()
    centred = (logits - logits.mean(dim=0)).double()
    fit = torch.linalg.lstsq(design.cpu(), centred.cpu(), driver="gelsd").solution
    residual = (design.cpu() @ fit - centred.cpu()).norm()
    if residual > 0.01 * centred.norm().cpu():
        share = float(residual / centred.norm())
        raise ModelError(
            "the callable's logits are not linear in its embedding (the best linear layer leaves "
            f"{share:.0%} of their spread); return the inputs of the last linear layer, and its "
            "outputs before softmax"
        )
