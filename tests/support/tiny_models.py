"""Hugging Face models of a few weights, random and fixed, in folders as save_pretrained writes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tokenizers
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper

WORDS = ["card", "lost", "my", "is", "rate", "exchange", "why", "top", "up", "failed", "text"]
BERT = {
    "vocab_size": 4 + len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "initializer_range": 0.5,  # as it is usually, all texts would look alike
}
VIT: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 16,
    "patch_size": 8,
    "initializer_range": 0.5,
}


def save_tokenizer(folder: Path) -> Any:
    """One token a word, [CLS] and [SEP] around."""
    vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS]
    model = tokenizers.models.WordLevel({w: i for i, w in enumerate(vocabulary)}, "[UNK]")
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def save_processor(folder: Path, kind: str = "ViT", side: int = VIT["image_size"]) -> Any:
    size = {"height": side, "width": side}
    processor = getattr(transformers, f"{kind}ImageProcessor")(size=size)
    processor.save_pretrained(folder)
    return processor


def save_bert(folder: Path, kind: str = "BertModel", **config: Any) -> Path:
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.BertConfig(**BERT, **config))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_vit(folder: Path, kind: str = "ViTModel", **config: Any) -> Path:
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.ViTConfig(**VIT | config))
    model.save_pretrained(folder)
    save_processor(folder, side=model.config.image_size)
    return folder


def save_audio(folder: Path, kind: str) -> Path:
    """Save a model of waves (Wav2Vec2), of 30 seconds (Whisper), or with a text side (Clap)."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "Wav2Vec2":
        config = transformers.Wav2Vec2Config(
            **size, intermediate_size=24, conv_dim=(8,) * 7, num_conv_pos_embeddings=16
        )
        extractor: Any = transformers.Wav2Vec2FeatureExtractor()
    elif kind == "Whisper":
        config = transformers.WhisperConfig(
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            vocab_size=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
        )
        extractor = transformers.WhisperFeatureExtractor()
    else:
        audio = {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2]}
        text = {**BERT, "intermediate_size": 24}
        config = transformers.ClapConfig(
            text_config=text,
            audio_config={**audio, "hidden_size": 16, "enable_fusion": False},
            projection_dim=12,
        )
        extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc")
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def save_pattern_model(path: Path, pattern: str, labels: tuple[str, str]) -> Path:
    """Write an ONNX model of texts: the first label where the pattern matches, else the second."""
    weights = [
        numpy_helper.from_array(np.array([[4.0, -4.0]], np.float32), "weights"),
        numpy_helper.from_array(np.array([-2.0, 2.0], np.float32), "bias"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("RegexFullMatch", ["text"], ["matches"], pattern=pattern),
            helper.make_node("Cast", ["matches"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["numbers", "axis"], ["features"]),
            helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"]),
        ],
        "pattern",
        [helper.make_tensor_value_info("text", TensorProto.STRING, ["n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    inputs = [{"kind": "text"}]
    description = json.dumps({"labels": list(labels), "inputs": inputs})
    path.with_name(path.name + ".json").write_text(description)
    return path


NER_CLASSES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]
PIECES = ["##s", "##ing", "##ed", "##un", "un", "##lost", "fail", "topp", "in", ",", "?", "-"]


def save_token_classifier(folder: Path) -> Path:
    """Save a token classifier with pieces of words, whose classes have the prefixes B- and I-."""
    torch.manual_seed(1)
    letters = [mark + letter for letter in "abcdefghijklmnopqrstuvwxyz" for mark in ("", "##")]
    vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS, *PIECES, *letters]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        **{**BERT, "vocab_size": len(vocabulary)},
        id2label=dict(enumerate(NER_CLASSES)),
        label2id={name: at for at, name in enumerate(NER_CLASSES)},
    )
    model = transformers.BertForTokenClassification(config)
    model.save_pretrained(folder)
    return folder


def save_onnx_token_classifier(folder: Path, source: Path) -> Path:
    """Save a token classifier in PyTorch as optimum exports it to ONNX."""
    return save_onnx(folder, source, transformers.AutoModelForTokenClassification)


class LogitsOnly(torch.nn.Module):
    """A model of images without what else it returns, which cannot be exported."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values).logits
        return logits


def save_onnx(folder: Path, source: Path, auto: Any) -> Path:
    """Save a classifier of texts or images in PyTorch as optimum exports it to ONNX."""
    model = auto.from_pretrained(source).eval()
    model.config.save_pretrained(folder)
    batch = {0: "batch_size"}
    if hasattr(model.config, "image_size"):
        transformers.AutoImageProcessor.from_pretrained(source).save_pretrained(folder)
        size = (2, 3, model.config.image_size, model.config.image_size)
        inputs = {"pixel_values": torch.zeros(size)}
        free, model = batch, LogitsOnly(model)
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        tokenizer.save_pretrained(folder)
        given = tokenizer(["my card is lost", "my card is lost"], return_tensors="pt")
        names = ("input_ids", "attention_mask", "token_type_ids")  # in the order of its arguments
        inputs = {name: given[name] for name in names if name in given}
        free = {**batch, 1: "sequence_length"}
        model.config.return_dict = False
    of_tokens = "Token" in auto.__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (dict(inputs),),
            str(folder / "model.onnx"),
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_axes=dict.fromkeys(inputs, free) | {"logits": free if of_tokens else batch},
            opset_version=17,
            dynamo=False,
        )
    return folder


THINGS = ["cat", "dog", "remote"]


def save_detector(folder: Path, kind: str) -> Path:
    """Save a detector: Detr, RTDetr, or Yolos."""
    torch.manual_seed(2)
    named: dict[str, Any] = {"id2label": dict(enumerate(THINGS)), "num_labels": len(THINGS)}
    layers = {"hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "embedding_size": 8}
    decoder = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 12}
    if kind == "Detr":
        backbone: Any = transformers.ResNetConfig(**layers, out_features=["stage4"])
        heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        size = {"encoder_layers": 1, "decoder_layers": 1, "use_timm_backbone": False}
        config: Any = transformers.DetrConfig(
            **named,
            **{**decoder, **heads, **size},
            backbone_config=backbone,
            use_pretrained_backbone=False,
            backbone=None,
            init_xavier_std=4.0,
            init_std=1.0,
        )
    elif kind == "RTDetr":
        stages = ["stage2", "stage3", "stage4"]
        backbone = transformers.RTDetrResNetConfig(**layers, out_features=stages)
        config = transformers.RTDetrConfig(
            **named,
            **decoder,
            backbone_config=backbone,
            encoder_hidden_dim=16,
            encoder_in_channels=[8, 8, 8],
            decoder_in_channels=[16, 16, 16],
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            decoder_layers=1,
            num_denoising=0,
            anchor_image_size=None,
        )
    else:
        config = transformers.YolosConfig(
            **named, **{**VIT, "image_size": [32, 32]}, num_detection_tokens=12
        )
    model = getattr(transformers, f"{kind}ForObjectDetection")(config).eval()
    processor = getattr(transformers, f"{kind}ImageProcessor")
    sizes = (
        {"height": 64, "width": 64}
        if kind == "RTDetr"
        else {"shortest_edge": 48, "longest_edge": 96}
    )
    made = processor(size=sizes)
    made.save_pretrained(folder)
    noise = np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8)
    _spread_queries(model, kind, made(images=noise, return_tensors="pt")["pixel_values"])
    model.save_pretrained(folder)
    return folder


def _spread_queries(model: Any, kind: str, pixels: torch.Tensor) -> None:
    """Let the classes and boxes of the queries of a random detector differ."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "query_position" in name or "detection_tokens" in name:
                weight.normal_()
        classes = model.model.decoder.class_embed if kind == "RTDetr" else None
        boxes = model.model.decoder.bbox_embed if kind == "RTDetr" else [model.bbox_predictor]
        head = model.class_labels_classifier if classes is None else classes[-1]
        head = head.layers[-1] if hasattr(head, "layers") else head
        for layer, size in ((head, 3.0), (boxes[-1].layers[-1], 1.0)):
            seen: list[torch.Tensor] = []
            hook = layer.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
            model(pixel_values=pixels)
            hook.remove()
            values = seen[-1].flatten(0, -2)
            scale = size / values.std(dim=0).clamp(min=1e-4)
            layer.bias.copy_((layer.bias - values.mean(dim=0)) * scale)
            layer.weight.mul_(scale[:, None])
