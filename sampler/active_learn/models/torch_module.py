"""Any PyTorch module: the input of its last linear layer is recorded as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from ..errors import ModelError, ParameterError, first_line
from .base import ModelOutput
from .batched import BatchedAdapter, count_samples, is_out_of_memory, take_samples
from .collate import as_tensor, collate, describe
from .embedding_heads import LinearHead
from .last_layer import Hints, NoLinearLayer, find_last_call, model_logits
from .linear_check import require_linear
from .linear_layers import LinearCall, LinearLayer, OperatorCalls, linear_layers, record_calls
from .signature import Signature

__all__ = ["TorchModule"]

Recorder = Callable[[], AbstractContextManager[list[LinearCall]]]

N_PROBES = 4  # samples that find the layer; every linear layer's input is kept for them


class TorchModule(BatchedAdapter):
    """A PyTorch module and the linear layer whose output is its logits.

    The module runs in eval mode and without gradients. Afterwards the mode of each of its parts,
    and its device, are what they were.

    Parameters
    ----------
    module : nn.Module
        Returns a tensor, a tuple that starts with one, or an object with ``logits``, of shape
        (n, K). After the last linear layer, which may be a 1x1 convolution, may come a softmax,
        log-softmax or sigmoid, the choice of one token, a mean over tokens or pixels, a
        temperature, or the mean of several heads.
    layer : str or nn.Module, optional
        The linear layer whose output is taken for the logits, where the last one cannot be found.
    device : str or torch.device, optional
        Where to run; the module's own device when omitted.
    batch_size : int or 'auto'

    Attributes
    ----------
    input_names : tuple of str
        The inputs that the module cannot do without, in its order.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        layer: str | nn.Module | None = None,
        device: str | torch.device | None = None,
        batch_size: int | str = "auto",
    ) -> None:
        super().__init__(batch_size)
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        # A compiled module runs a graph in which hooks set later are not seen.
        self.module: nn.Module = getattr(module, "_orig_mod", module)
        self.device = None if device is None else torch_device(device)
        self._chosen: str | None = None
        self._record: Recorder | None = None
        self._scale: float | None = None
        if layer is not None:
            chosen = named_layer(self.module, layer)
            self._chosen = next(iter(chosen))
            self._record = partial(record_calls, chosen)
        if any("quantized" in type(part).__module__ for part in self.module.modules()):
            # Its scale may be that of the batch: results would depend on how fast the machine is.
            self._batch_size.fix(self.batch_size, halves=True)
        self._signature = Signature(self.module)
        self.input_names = self._signature.required

    def linear_head(self, n_features: int) -> LinearHead | None:
        """Return the present weights of a module that is one `nn.Linear`, float32 and no hooks.

        Its embeddings are what it is given, so that nothing has to be recorded, checked or copied.
        """
        module = self.module
        if type(module) is not nn.Linear or module._forward_hooks or module._forward_pre_hooks:
            return None
        tensors = [p.detach() for p in module.parameters()]
        if module.in_features != n_features or not all(map(is_ready, tensors)):
            return None
        head = LinearHead(*(tensor.clone() for tensor in tensors))
        self.weight, self.bias, self.sizes = head.weight, head.bias, head.sizes
        self.layer_name = repr("")
        return head

    def _run(self, batch: Any) -> ModelOutput:
        check_loaded(self.module)
        with evaluating(self.module), placed_on(self.module, self.device), torch.no_grad():
            return super()._run(batch)

    def _forward(self, samples: Any) -> ModelOutput:
        inputs = self._inputs(samples)
        if self._record is None:
            n_probes = min(N_PROBES, count_samples(samples))
            self._record = self._find_layer(take_samples(inputs, 0, n_probes))
        call = self._last_call(*self._record_run(inputs, self._record), inputs)
        self.layer_name = repr(call.name)
        logits, embedding = call.output.float(), call.input.float()
        # Copies: a weight that was computed on the way belongs to inference mode.
        self.weight = call.weight.detach().float().clone()
        self.bias = (
            self.weight.new_zeros(self.weight.shape[0])
            if call.bias is None
            else call.bias.detach().float().clone()
        )
        require_linear(
            logits, embedding, self.weight, self.bias, call.output.dtype, f"layer {call.name!r}"
        )
        return ModelOutput(logits, embedding)

    def _find_layer(self, probes: Any) -> Recorder:
        """Return a recorder of the last linear layer alone, found by a run of a few samples."""
        layers = linear_layers(self.module)
        try:
            record: Recorder = partial(record_calls, layers)
            found = self._last_call(*self._record_run(probes, record), probes)
        except NoLinearLayer as error:
            # Perhaps one without a module of its own.
            try:
                found = self._last_call(*self._record_run(probes, OperatorCalls), probes)
            except NoLinearLayer:
                raise error from None
            one = len(found.names) == 1
            return partial(OperatorCalls, tuple(found.weight.shape) if one else None)
        return partial(record_calls, {name: layers[name] for name in found.names})

    def _record_run(self, inputs: Any, record: Recorder) -> tuple[list[LinearCall], Any]:
        """Return the recorded calls of one run of the module, and its result."""
        with record() as calls:
            try:
                return calls, call_module(self.module, inputs)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                raise ModelError(
                    f"the model failed on a batch ({describe(inputs)}): {first_line(error)}"
                ) from error

    def _last_call(self, calls: list[LinearCall], output: Any, inputs: Any) -> LinearCall:
        """Return the call that computed the logits, with one row per sample."""
        mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
        hints = Hints(mask, self._scale)
        if self._chosen is None:
            found = find_last_call(calls, model_logits(output), hints)
            self._scale = found.scale
            return found
        if not calls:
            raise ModelError(f"layer {self._chosen!r} did not run; choose another by layer=")
        if calls[-1].output.ndim == 2:
            return calls[-1]
        return find_last_call(calls[-1:], model_logits(output), hints)

    def _inputs(self, samples: Any) -> Any:
        """Return samples as the module's inputs, on its device and in its float type."""
        columns = collate(self._signature.select(samples))
        if isinstance(columns, tuple):
            # Of (input, label) rows the model takes the input only.
            columns = columns[: max(1, len(self.input_names))]
        parameter = next(
            (p for p in self.module.parameters() if p.is_floating_point()), torch.empty(0)
        )

        def convert(column: Any) -> torch.Tensor:
            tensor = as_tensor(column)
            dtype = parameter.dtype if tensor.is_floating_point() else tensor.dtype
            return tensor.to(device=parameter.device, dtype=dtype)

        if isinstance(columns, Mapping):
            return {name: convert(column) for name, column in columns.items()}
        if isinstance(columns, tuple):
            return tuple(convert(column) for column in columns)
        return convert(columns)


def call_module(module: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        return module(**inputs)
    if isinstance(inputs, tuple):
        return module(*inputs)
    return module(inputs)


def named_layer(module: nn.Module, layer: str | nn.Module) -> dict[str, LinearLayer]:
    """Return the layer that ``layer=`` names."""
    layers = linear_layers(module)
    for name, candidate in layers.items():
        if candidate is layer or name == layer:
            return {name: candidate}
    wanted = layer if isinstance(layer, str) else type(layer).__name__
    names = ", ".join(repr(name) for name in list(layers)[-8:]) or "none"
    raise ModelError(
        f"layer {wanted!r} is no linear layer of the model; its linear layers: {names}"
    )


def check_loaded(module: nn.Module) -> None:
    """Check that weights have values, which those on the meta device have not."""
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_meta:
            raise ModelError(
                f"{name!r} of the model is on the meta device, which holds no values; load its "
                "weights on a real device first"
            )


def is_ready(weights: torch.Tensor) -> bool:
    """Return whether weights can be computed with as they are."""
    return weights.dtype == torch.float32 and not weights.is_meta and bool(weights.isfinite().all())


def torch_device(device: str | torch.device) -> torch.device:
    """Check that a device exists."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(f"device {str(device)!r} cannot be used: {error}") from error
    return torch.device(device)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Set eval mode, and afterwards restore the mode of each part (frozen parts too)."""
    # A frozen TorchScript module has no modes.
    modes = [(part, part.training) for part in module.modules() if hasattr(part, "training")]
    # Not by eval(): programs of torch.export refuse it, and others merge weights in it.
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def placed_on(module: nn.Module, device: torch.device | None) -> Iterator[None]:
    """Move the module to a device and back."""
    homes = {tensor.device for tensor in [*module.parameters(), *module.buffers()]}
    if device is None or not homes or homes == {device}:
        yield
        return
    if len(homes) > 1:
        raise ParameterError(
            f"the model lies on several devices ({', '.join(sorted(map(str, homes)))}); "
            "leave out device="
        )
    module.to(device)
    try:
        yield
    finally:
        module.to(homes.pop())
