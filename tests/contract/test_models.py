"""What every kind of model adapter promises. A new kind adds one class that inherits `Contract`."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from active_learn.errors import DataError, ModelError, ParameterError
from active_learn.models import ModelOutput, adapt
from onnx import TensorProto, helper, numpy_helper
from torch import nn

transformers = pytest.importorskip("transformers")

N_SAMPLES = 7
WORDS = ["card", "lost", "my", "is", "rate", "exchange", "why", "top", "up", "failed"]


class Contract:
    """One suite for all kinds; a subclass says how to build its kind and what it computes."""

    n_outputs = 3

    def build(self) -> Any:
        """Build the model with fixed weights."""
        raise NotImplementedError

    def samples(self) -> Any:
        """Give N_SAMPLES samples, different from each other."""
        raise NotImplementedError

    def expected(self, model: Any, samples: Any) -> np.ndarray:
        """Compute the logits by the plain way of this kind of model, one sample at a time."""
        raise NotImplementedError

    def broken(self) -> Any:
        """Build the model with NaN in its head."""
        raise NotImplementedError

    def adapt(self, model: Any, **options: Any) -> Any:
        return adapt(model, **options)

    @pytest.fixture(autouse=True)
    def _seeded(self):
        torch.manual_seed(0)

    def test_gives_the_models_logits(self):
        model = self.build()
        output = self.adapt(model)(self.samples())
        np.testing.assert_allclose(
            output.logits, self.expected(model, self.samples()), rtol=1e-4, atol=1e-5
        )

    def test_output_is_two_float32_matrices(self):
        output = self.adapt(self.build())(self.samples())
        assert isinstance(output, ModelOutput)
        assert output.logits.shape == (N_SAMPLES, self.n_outputs)
        assert output.embedding.ndim == 2
        assert len(output.embedding) == N_SAMPLES
        assert output.logits.dtype == output.embedding.dtype == torch.float32
        assert not output.logits.requires_grad
        assert not output.embedding.requires_grad

    def test_head_reproduces_the_logits(self):
        adapter = self.adapt(self.build())
        output = adapter(self.samples())
        again = output.embedding @ adapter.weight.T + adapter.bias
        torch.testing.assert_close(again, output.logits, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("batch_size", [1, 2, 3, N_SAMPLES, 100])
    def test_batch_size_changes_nothing(self, batch_size):
        model = self.build()
        whole = self.adapt(model)(self.samples())
        parts = self.adapt(model, batch_size=batch_size)(self.samples())
        torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parts.embedding, whole.embedding, rtol=1e-4, atol=1e-5)

    def test_samples_stay_in_order_as_a_list(self):
        adapter = self.adapt(self.build())
        samples = list(self.samples())
        forward, backward = adapter(samples), adapter(samples[::-1])
        torch.testing.assert_close(backward.logits.flip(0), forward.logits, rtol=1e-4, atol=1e-5)

    def test_auto_halves_when_memory_runs_out(self, monkeypatch):
        adapter = self.adapt(self.build())
        forward = adapter._forward
        sizes = []

        def forward_in_small_memory(samples):
            sizes.append(len(samples))
            if len(samples) > 2:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return forward(samples)

        expected = adapter(self.samples())
        monkeypatch.setattr(adapter, "_forward", forward_in_small_memory)
        output = adapter(self.samples())
        torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
        assert max(sizes[-3:]) <= 2
        assert adapter.batch_size == 2

    def test_given_batch_size_is_not_changed_behind_the_back(self, monkeypatch):
        adapter = self.adapt(self.build(), batch_size=4)

        def forward_without_memory(samples):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(adapter, "_forward", forward_without_memory)
        with pytest.raises(ModelError, match=r"batch_size=4.*'auto'"):
            adapter(self.samples())

    def test_a_single_sample_without_memory_is_an_error(self, monkeypatch):
        adapter = self.adapt(self.build())

        def forward_without_memory(samples):
            raise MemoryError

        monkeypatch.setattr(adapter, "_forward", forward_without_memory)
        with pytest.raises(ModelError, match="single sample"):
            adapter(self.samples())

    def test_nan_is_an_error(self):
        with pytest.raises(ModelError, match="NaN or infinity in the logits of sample 0"):
            self.adapt(self.broken())(self.samples())

    def test_no_samples_is_an_error(self):
        with pytest.raises(DataError, match="at least one"):
            self.adapt(self.build())([])

    def test_samples_of_no_kind_are_an_error(self):
        with pytest.raises(DataError, match="expected a tensor, an array, a list"):
            self.adapt(self.build())(object())

    @pytest.mark.parametrize("batch_size", [0, -1, 2.5, "big", True])
    def test_batch_size_of_no_sense_is_an_error(self, batch_size):
        with pytest.raises(ParameterError, match="batch_size"):
            self.adapt(self.build(), batch_size=batch_size)

    def test_global_random_state_is_left_alone(self):
        adapter = self.adapt(self.build())
        samples = self.samples()
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
        adapter(samples)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])
        assert random.getstate() == before[2]

    def test_an_adapter_passes_through(self):
        adapter = self.adapt(self.build())
        assert self.adapt(adapter) is adapter


class ModuleContract(Contract):
    """What holds for every kind that is a PyTorch module inside."""

    def module(self, model: Any) -> nn.Module:
        return model

    def head(self, module: nn.Module) -> nn.Linear:
        raise NotImplementedError

    def broken(self):
        model = self.build()
        with torch.no_grad():
            self.head(self.module(model)).weight[0, 0] = float("nan")
        return model

    def test_modes_are_restored_part_by_part(self):
        model = self.build()
        module = self.module(model)
        module.train()
        next(iter(module.children())).eval()
        before = [part.training for part in module.modules()]
        self.adapt(model)(self.samples())
        assert [part.training for part in module.modules()] == before

    def test_dropout_is_off(self):
        model = self.build()
        self.module(model).train()
        adapter = self.adapt(model)
        first, second = adapter(self.samples()), adapter(self.samples())
        assert torch.equal(first.logits, second.logits)

    def test_modes_and_hooks_are_restored_after_a_failure(self):
        model = self.broken()
        module = self.module(model)
        module.train()
        with pytest.raises(ModelError):
            self.adapt(model)(self.samples())
        assert module.training
        assert not any(part._forward_hooks for part in module.modules())

    def test_weights_are_read_anew(self):
        model = self.build()
        adapter = self.adapt(model)
        before = adapter(self.samples())
        with torch.no_grad():
            self.head(self.module(model)).weight.mul_(2.0)
        after = adapter(self.samples())
        torch.testing.assert_close(after.embedding, before.embedding)
        assert not torch.allclose(after.logits, before.logits)

    def test_a_named_layer_is_taken(self):
        model = self.build()
        head = self.head(self.module(model))
        name = next(n for n, part in self.module(model).named_modules() if part is head)
        found = self.adapt(model)(self.samples())
        for layer in (name, head):
            chosen = self.adapt(model, layer=layer)(self.samples())
            torch.testing.assert_close(chosen.logits, found.logits)
            torch.testing.assert_close(chosen.embedding, found.embedding)

    def test_a_wrong_layer_is_an_error(self):
        with pytest.raises(ModelError, match="its linear layers: "):
            self.adapt(self.build(), layer="no.such.layer")

    def test_half_precision(self):
        model = self.build()
        self.module(model).to(torch.bfloat16)
        output = self.adapt(model)(self.samples())
        assert output.logits.dtype == torch.float32
        expected = self.expected(model, self.samples())
        np.testing.assert_allclose(output.logits, expected, rtol=0.1, atol=0.1)


class TestTorchModule(ModuleContract):
    def build(self):
        torch.manual_seed(1)
        body = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.5))
        return nn.Sequential(body, nn.Sequential(nn.Dropout(0.5), nn.Linear(8, self.n_outputs)))

    def head(self, module):
        return module[1][1]

    def samples(self):
        return np.random.default_rng(0).normal(size=(N_SAMPLES, 3, 4))

    def expected(self, model, samples):
        model.eval()
        dtype = next(model.parameters()).dtype
        with torch.no_grad():
            rows = [model(torch.as_tensor(row[None]).to(dtype)).float() for row in samples]
        return torch.cat(rows).numpy()


class TestTorchRegressor(TestTorchModule):
    n_outputs = 2


class TestCallable(Contract):
    def weights(self):
        return np.random.default_rng(1).normal(size=(self.n_outputs, 4)).astype(np.float32)

    def build(self):
        weight = self.weights()
        return lambda batch: (np.asarray(batch) @ weight.T, np.asarray(batch))

    def broken(self):
        return lambda batch: (np.full((len(batch), 3), np.nan), np.asarray(batch))

    def samples(self):
        return np.random.default_rng(0).normal(size=(N_SAMPLES, 4)).astype(np.float32)

    def expected(self, model, samples):
        return samples @ self.weights().T

    def test_head_reproduces_the_logits(self):
        """A plain callable has no head to show; that there is one is checked all the same."""
        adapter = self.adapt(self.build())
        adapter(self.samples())
        assert adapter.weight is None
        assert adapter.bias is None


class TestOnnx(Contract):
    def build(self):
        return self.graph(np.ones((self.n_outputs, 5), np.float32))

    def broken(self):
        return self.graph(np.full((self.n_outputs, 5), np.nan, np.float32))

    def graph(self, scale: np.ndarray) -> bytes:
        rng = np.random.default_rng(1)
        tensors = {
            "W1": rng.normal(size=(4, 5)).astype(np.float32),
            "W2": scale * rng.normal(size=(self.n_outputs, 5)).astype(np.float32),
            "b2": rng.normal(size=self.n_outputs).astype(np.float32),
        }
        nodes = [
            helper.make_node("MatMul", ["x", "W1"], ["h1"]),
            helper.make_node("Relu", ["h1"], ["h"]),
            helper.make_node("Gemm", ["h", "W2", "b2"], ["z"], transB=1, name="head"),
            helper.make_node("Softmax", ["z"], ["p"]),
        ]
        graph = helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", self.n_outputs])],
            [numpy_helper.from_array(values, name) for name, values in tensors.items()],
        )
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

    def samples(self):
        return np.random.default_rng(0).normal(size=(N_SAMPLES, 4)).astype(np.float32)

    def expected(self, model, samples):
        tensors = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in onnx.load_model_from_string(model).graph.initializer
        }
        hidden = np.maximum(samples @ tensors["W1"], 0)
        return hidden @ tensors["W2"].T + tensors["b2"]


def word_tokenizer(**options: Any) -> Any:
    """Make a tokenizer with one token a word, [CLS] and [SEP] around."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS]
    model = tokenizers.models.WordLevel(
        {word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"
    )
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        **options,
    )


class TextContract(ModuleContract):
    """Text classifiers from tiny random configs; each family names its classes and its head."""

    family = ""
    sizes: dict[str, Any] = {}
    padding_side = "right"
    accepted = ("input_ids", "attention_mask")

    def build(self):
        torch.manual_seed(1)
        config = getattr(transformers, f"{self.family}Config")(
            **{"vocab_size": 4 + len(WORDS), "pad_token_id": 0, "num_labels": self.n_outputs},
            **self.sizes,
        )
        model = getattr(transformers, f"{self.family}ForSequenceClassification")(config)
        # The random heads start so small that all samples would look alike.
        with torch.no_grad():
            self.head(model).weight.mul_(10.0)
        return model, word_tokenizer(padding_side=self.padding_side)

    def module(self, model):
        return model[0]

    def samples(self):
        rng = np.random.default_rng(0)
        return [" ".join(rng.choice(WORDS, size=length)) for length in range(1, N_SAMPLES + 1)]

    def expected(self, model, samples):
        module, tokenizer = model
        module.eval()
        rows = []
        for sample in samples:
            encoded = tokenizer(sample, return_tensors="pt")
            with torch.no_grad():
                inputs = {name: encoded[name] for name in self.accepted}
                rows.append(module(**inputs).logits.float())
        return torch.cat(rows).numpy()


BERT_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


class TestBert(TextContract):
    family, sizes = "Bert", BERT_SIZES

    def head(self, module):
        return module.classifier


class TestBertRegressor(TestBert):
    n_outputs = 1


class TestRoberta(TextContract):
    family, sizes = "Roberta", BERT_SIZES

    def head(self, module):
        return module.classifier.out_proj


class TestDistilBert(TextContract):
    family = "DistilBert"
    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}

    def head(self, module):
        return module.classifier


class TestDeberta(TextContract):
    family, sizes = "DebertaV2", {**BERT_SIZES, "relative_attention": True}

    def head(self, module):
        return module.classifier


class TestGPT2(TextContract):
    family = "GPT2"
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}

    def head(self, module):
        return module.score


class TestGPT2PaddedLeft(TestGPT2):
    padding_side = "left"


class TestLlama(TextContract):
    family = "Llama"
    sizes = {**BERT_SIZES, "num_key_value_heads": 2}

    def head(self, module):
        return module.score


class TestLlamaPaddedLeft(TestLlama):
    padding_side = "left"


class TestGemma3(TextContract):
    """Its pad token and its limits lie in the config of its text part."""

    family = "Gemma3"

    def build(self):
        torch.manual_seed(1)
        text = {**BERT_SIZES, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
        vision = {**BERT_SIZES, "image_size": 28, "patch_size": 14}
        config = transformers.Gemma3Config(
            text_config={**text, "vocab_size": 4 + len(WORDS)},
            vision_config=vision,
            mm_tokens_per_image=4,
        )
        config.num_labels = self.n_outputs
        model = transformers.Gemma3ForSequenceClassification(config)
        with torch.no_grad():
            self.head(model).weight.mul_(10.0)
        return model, word_tokenizer()

    def head(self, module):
        return module.score


class OwnModule(nn.Module):
    """An encoder, a head, and no config."""

    def __init__(self, n_outputs: int, **options: Any) -> None:
        super().__init__()
        sizes = {**BERT_SIZES, "vocab_size": 4 + len(WORDS), "pad_token_id": 0}
        self.encoder = transformers.BertModel(transformers.BertConfig(**sizes, **options))
        self.head = nn.Linear(16, n_outputs)

    def forward(self, input_ids, **others):
        return {"logits": self.head(self.encoder(input_ids, **others).last_hidden_state[:, 0])}


class TestOwnModuleWithATokenizer(TextContract):
    def build(self):
        torch.manual_seed(1)
        return OwnModule(self.n_outputs), word_tokenizer()

    def head(self, module):
        return module.head

    def expected(self, model, samples):
        module, tokenizer = model
        module.eval()
        with torch.no_grad():
            rows = [module(**tokenizer(one, return_tensors="pt"))["logits"] for one in samples]
        return torch.cat(rows).float().numpy()


@pytest.mark.filterwarnings("ignore:.*mixes padding in")
class MixesPadding(TextContract):
    """Families whose results depend on the padding of a batch."""

    def samples(self):
        """Lengths of which some are equal, so that some samples share a batch."""
        rng = np.random.default_rng(0)
        return [" ".join(rng.choice(WORDS, size=length)) for length in (4, 1, 4, 4, 2, 4, 1)]


class TestFNet(MixesPadding):
    family, accepted = "FNet", ("input_ids",)
    sizes = {name: BERT_SIZES[name] for name in BERT_SIZES if name != "num_attention_heads"}
    test_half_precision = None  # its Fourier transform knows no half precision on a CPU

    def head(self, module):
        return module.classifier


class TestConvBert(MixesPadding):
    family, sizes = "ConvBert", {**BERT_SIZES, "embedding_size": 16, "conv_kernel_size": 3}

    def head(self, module):
        return module.classifier.out_proj


class TestImageTransformer(ModuleContract):
    def build(self):
        torch.manual_seed(1)
        config = transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            image_size=16,
            patch_size=8,
            num_labels=self.n_outputs,
        )
        model = transformers.ViTForImageClassification(config)
        with torch.no_grad():
            model.classifier.weight.mul_(10.0)
        size = {"height": 16, "width": 16}
        return model, transformers.ViTImageProcessor(size=size)

    def module(self, model):
        return model[0]

    def head(self, module):
        return module.classifier

    def samples(self):
        return np.random.default_rng(0).integers(256, size=(N_SAMPLES, 20, 20, 3), dtype=np.uint8)

    def expected(self, model, samples):
        module, processor = model
        module.eval()
        dtype = next(module.parameters()).dtype
        rows = []
        for sample in samples:
            pixels = processor(images=sample, return_tensors="pt")["pixel_values"].to(dtype)
            with torch.no_grad():
                rows.append(module(pixel_values=pixels).logits.float())
        return torch.cat(rows).numpy()
