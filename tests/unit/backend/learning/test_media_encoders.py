"""Embedded encoders of audio, time series and several images; Hugging Face encoders of audio."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from active_learn.errors import MissingOptionalDependencyError
from active_learn_backend.decoders import process
from active_learn_backend.errors import ContentError, SettingsError
from active_learn_backend.labeling.config import Field, parse_label_config
from active_learn_backend.learning.encoders import (
    AudioEncoder,
    ImageEncoder,
    TaskEncoder,
    TextEncoder,
    TimeSeriesEncoder,
    configured_encoders,
    readable_fields,
)
from active_learn_backend.learning.encoders.content_reader import MOST_IMAGES, VIDEO_LOADERS
from active_learn_backend.learning.encoders.folders import kind_of
from active_learn_backend.settings import Settings
from media_files import RATE, audio_file, pdf_file, png_file, tone, video_file
from PIL import Image
from sklearn.linear_model import LogisticRegression
from tiny_models import save_audio, save_bert, save_tokenizer, save_vit

CHOICES = '<Choices name="c" toName="o"><Choice value="a"/><Choice value="b"/></Choices>'


# -- audio ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "samples",
    [
        tone(440),
        tone(440, 0.001),
        np.stack([tone(300), tone(900)]),
        np.random.default_rng(0).normal(size=RATE) / 10,
        np.ones(RATE),
    ],
)
def test_any_sound_gives_a_vector_of_unit_length(samples: np.ndarray) -> None:
    vector = AudioEncoder().encode([audio_file(samples)])[0]
    assert vector.shape == (AudioEncoder.n_features,)
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-3)


def test_silence_is_zero_and_not_nan() -> None:
    vector = AudioEncoder().encode([audio_file(np.zeros(RATE))])[0]
    assert np.array_equal(vector, np.zeros_like(vector))


def test_the_volume_of_a_recording_does_not_count() -> None:
    loud, soft, other = AudioEncoder().encode(
        [audio_file(tone(440)), audio_file(tone(440) / 8), audio_file(tone(1760))]
    )
    assert loud @ soft > 0.9 > loud @ other


def test_audio_features_tell_sounds_apart() -> None:
    """Tones, noise, and tones that rise or fall: the last two differ in their order only."""
    random = np.random.default_rng(0)
    files, truth = [], []
    for at in range(120):
        kind = at % 4
        low, seconds = random.uniform(300, 600), random.uniform(0.4, 0.8)
        time = np.arange(int(seconds * RATE)) / RATE
        sweep = time**2 / seconds * low / 2
        phase = low * time + (0, 0, sweep, -sweep / 2)[kind]
        samples = random.normal(size=len(time)) if kind == 1 else np.sin(2 * np.pi * phase)
        files.append(audio_file(0.2 * samples + 0.005 * random.normal(size=len(time))))
        truth.append(kind)
    vectors = AudioEncoder().encode(files)
    model = LogisticRegression(C=10, max_iter=1000).fit(vectors[:60], truth[:60])
    assert model.score(vectors[60:], truth[60:]) > 0.9


def test_an_audio_file_that_cannot_be_read_leaves_the_others() -> None:
    files = {"/good.wav": audio_file(tone(440)), "/bad.wav": b"no audio"}
    encoders = configured_encoders(Settings(), {"audio"})
    encoder = TaskEncoder([Field("audio", "audio")], files.__getitem__, encoders)
    vectors, failed = encoder.encode([{"audio": "/bad.wav"}, {"audio": "/good.wav"}])
    assert list(failed) == [0]
    assert not vectors[0].any()
    assert vectors[1].any()


def test_without_its_decoder_the_config_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    with pytest.raises(MissingOptionalDependencyError, match="pip install"):
        configured_encoders(Settings(), {"audio"})
    beside = [Field("text", "text"), Field("sound", "audio", required=False)]
    assert readable_fields(beside) == beside[:1]


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Whisper", "Clap"])
def test_a_hugging_face_audio_model_is_pooled_over_the_time(tmp_path: Path, kind: str) -> None:
    folder = save_audio(tmp_path / kind, kind)
    settings = Settings(model_dir=tmp_path, encoder=str(folder), device="cpu")
    encoder = configured_encoders(settings, {"audio"})["audio"]
    rate = 48_000 if kind == "Clap" else 16_000
    sounds = [tone(frequency, seconds, rate) for frequency, seconds in ((300, 0.5), (2000, 0.7))]
    vectors = encoder.encode([audio_file(samples, "flac", rate) for samples in sounds])
    processor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    for samples, vector in zip(sounds, vectors, strict=True):
        inputs = processor(samples, sampling_rate=rate, return_tensors="pt")
        inputs.pop("attention_mask", None)
        with torch.no_grad():
            if kind == "Clap":
                features = model.get_audio_features(**inputs)
                pooled = getattr(features, "pooler_output", features)[0]
            else:
                whole = model.get_encoder() if kind == "Whisper" else model
                pooled = whole(**inputs).last_hidden_state[0].mean(dim=0)
        expected = (pooled / pooled.norm()).numpy()
        np.testing.assert_allclose(vector, expected, atol=2e-2)  # FLAC rounds to 16 bits
    assert not np.allclose(vectors[0], vectors[1], atol=1e-4)
    assert encoder.fingerprint.startswith("audio-hf1-")


def test_a_processor_with_a_tokenizer_beside_its_feature_extractor_is_audio(tmp_path: Path) -> None:
    folder = save_audio(tmp_path / "clap", "Clap")
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    tokenizer = save_tokenizer(tmp_path / "clap")
    for file in folder.glob("preprocessor_config.json"):
        file.unlink()
    transformers.ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    assert kind_of(folder) == "audio"
    assert kind_of(save_bert(tmp_path / "bert")) == "text"
    assert kind_of(save_vit(tmp_path / "vit")) == "image"


def test_very_short_and_very_long_audio_pass_a_hugging_face_model(tmp_path: Path) -> None:
    for kind in ("Wav2Vec2", "Clap"):
        folder = save_audio(tmp_path / kind, kind)
        settings = Settings(model_dir=tmp_path, encoder=str(folder), device="cpu")
        encoder = configured_encoders(settings, {"audio"})["audio"]
        files = [audio_file(tone(440, seconds)) for seconds in (0.01, 31.0)]
        first, again = encoder.encode(files), encoder.encode(files)
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(first, again)


def test_the_setting_names_one_encoder_for_audio(tmp_path: Path) -> None:
    folders = [save_audio(tmp_path / name, "Wav2Vec2") for name in ("one", "two")]
    settings = Settings(model_dir=tmp_path, encoder=",".join(map(str, folders)), device="cpu")
    with pytest.raises(SettingsError, match=r"two encoders for audio, .* and one for audio"):
        configured_encoders(settings, {"audio"})


# -- time series ----------------------------------------------------------------------------------


def series(kind: int, random: np.random.Generator) -> np.ndarray:
    """Two channels: slow and fast waves, a rise, or noise; of different length and scale."""
    n = random.integers(100, 300)
    at = np.arange(n) / n
    first = [
        np.sin(2 * np.pi * random.uniform(2, 4) * at),
        np.sin(2 * np.pi * random.uniform(20, 40) * at),
        3 * at,
        random.normal(size=n),
    ][kind]
    noisy = np.stack([first, random.normal(size=n)])
    return (noisy + 0.3 * random.normal(size=noisy.shape)).astype(np.float32)


def test_time_series_features_tell_kinds_apart() -> None:
    random = np.random.default_rng(0)
    truth = [at % 4 for at in range(120)]
    vectors = TimeSeriesEncoder().encode([series(kind, random) for kind in truth])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-3)
    model = LogisticRegression(C=10, max_iter=1000).fit(vectors[:60], truth[:60])
    assert model.score(vectors[60:], truth[60:]) > 0.9


@pytest.mark.parametrize(
    "channels",
    [
        np.zeros((1, 1)),
        np.zeros((2, 50)),
        np.full((1, 9), 1e30),
        np.ones((1, 3)) * 7,
        np.array([[1.0, -2.0]]),
        np.random.default_rng(0).normal(size=(40, 30)) * 1e6,
    ],
)
def test_any_series_gives_finite_numbers(channels: np.ndarray) -> None:
    vector = TimeSeriesEncoder().encode([channels.astype(np.float32)])[0]
    assert vector.shape == (TimeSeriesEncoder.n_features,)
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(float(channels.any()), rel=1e-3)


def test_series_of_tasks_and_of_files_are_encoded_alike() -> None:
    config = (
        '<View><TimeSeries name="o" value="$s"><Channel column="x"/></TimeSeries>' + CHOICES
    ) + "</View>"
    task = parse_label_config(config)
    encoder = TaskEncoder(
        task.fields,
        lambda address: {"/a.csv": b"t,x\n0,1\n1,4\n2,2\n", "/b.csv": b"t\n1\n"}[address],
        configured_encoders(Settings(), {"time series"}),
    )
    values = [{"x": [1, 4, 2]}, "/a.csv", "/b.csv", None]
    vectors, failed = encoder.encode([task.content({"s": value}) for value in values])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert "has no column 'x'" in str(failed[2])
    assert str(failed[3]) == "the task has no time series in its field 's'"


# -- video and PDF --------------------------------------------------------------------------------


def getting_brighter(n: int, side: int = 32) -> np.ndarray:
    levels = np.arange(n) * 250 // n
    return np.broadcast_to(levels[:, None, None, None], (n, side, side, 3)).astype(np.uint8)


def test_a_video_is_the_mean_of_the_vectors_of_its_frames() -> None:
    half = np.zeros((10, 32, 32, 3), np.uint8)
    half[:5, :16] = half[5:, :, :16] = 255  # first the upper half is white, then the left one
    files = {"/v.mp4": video_file(half), "/no.mp4": audio_file(tone(440))}
    loaded: list[tuple[str, bool]] = []

    def load(address: str, *, video: bool = False) -> bytes:
        loaded.append((address, video))
        return files[address]

    encoders = configured_encoders(Settings(), {"video"})
    encoder = TaskEncoder([Field("v", "video")], load, encoders)
    vectors, failed = encoder.encode([{"v": "/v.mp4"}, {"v": "/no.mp4"}])
    stills = []
    for picture in (half[0], half[9]):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        stills.append(file.getvalue())
    expected = ImageEncoder().encode(stills).mean(axis=0)
    assert vectors[0] @ expected / np.linalg.norm(vectors[0]) / np.linalg.norm(expected) > 0.98
    assert "cannot be decoded" in str(failed[1])
    assert sorted(loaded) == [("/no.mp4", True), ("/v.mp4", True)]
    assert "video-8-frames" in encoder.fingerprint


def test_few_videos_are_held_at_once() -> None:
    """Three copies of a video may be there for a moment: two here, and one in the child."""
    held, most = 0, 0
    lock, both = threading.Lock(), threading.Barrier(VIDEO_LOADERS, timeout=30)

    def load(address: str, *, video: bool = False) -> bytes:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        both.wait()
        with lock:
            held -= 1
        raise ContentError("seen")

    encoder = TaskEncoder([Field("v", "video")], load, configured_encoders(Settings(), {"video"}))
    _, failed = encoder.encode([{"v": "/v.mp4"}] * (4 * VIDEO_LOADERS))
    assert len(failed) == 4 * VIDEO_LOADERS
    assert most == VIDEO_LOADERS


def test_a_pdf_is_its_text_or_a_picture_of_its_first_page() -> None:
    scan = io.BytesIO()
    Image.open(io.BytesIO(png_file(1))).save(scan, "PDF")
    files = {
        "/text.pdf": pdf_file("Invoice number four", "for seven chairs"),
        "/scan.pdf": scan.getvalue(),
        "/no.pdf": b"no pdf",
    }
    encoders = configured_encoders(Settings(), {"pdf"})
    encoder = TaskEncoder([Field("p", "pdf")], files.__getitem__, encoders)
    vectors, failed = encoder.encode([{"p": address} for address in files])
    n = TextEncoder.n_features
    text = TextEncoder().encode(["Invoice number four\nfor seven chairs"])[0]
    np.testing.assert_allclose(vectors[0, :n], text, atol=1e-6)
    assert not vectors[0, n:].any()
    assert not vectors[1, :n].any()
    assert np.linalg.norm(vectors[1]) == pytest.approx(2**0.5, rel=1e-3)
    assert "it is encrypted, damaged or no PDF" in str(failed[2])


def test_what_consists_of_others_uses_the_encoders_of_the_setting(tmp_path: Path) -> None:
    folders = [save_vit(tmp_path / "vit"), save_bert(tmp_path / "bert")]
    settings = Settings(model_dir=tmp_path, encoder=",".join(map(str, folders)), device="cpu")
    encoders = configured_encoders(settings, {"pdf", "video", "images"})
    assert {kind: one.n_features for kind, one in encoders.items()} == {
        "pdf": 32,
        "video": 16,
        "images": 16,
    }
    assert encoders["video"].encode([video_file(getting_brighter(9))]).shape == (1, 16)
    vectors = encoders["pdf"].encode([pdf_file("why is my card lost again"), pdf_file("7")])
    assert vectors[0, :16].any()
    assert vectors[1, 16:].any()


# -- several images of a task ----------------------------------------------------------------------


def test_several_images_are_the_mean_of_their_vectors() -> None:
    task = parse_label_config(f'<View><Image name="o" valueList="$pages"/>{CHOICES}</View>')
    (field,) = task.fields
    assert field.kind == "images"
    content = task.content({"pages": ["/1", "/2", "/3"]})
    assert content == {"pages": '["/1", "/2", "/3"]'}
    encoders = configured_encoders(Settings(), {"images"})
    encoder = TaskEncoder(task.fields, lambda address: png_file(int(address[1:])), encoders)
    vectors, failed = encoder.encode([content, task.content({"pages": ["/3"]}), {"pages": None}])
    each = ImageEncoder().encode([png_file(1), png_file(2), png_file(3)])
    np.testing.assert_allclose(vectors[0], each.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(vectors[1], each[2], atol=1e-6)
    assert list(failed) == [2]


def test_one_image_after_the_other_is_held_and_not_more_than_needed() -> None:
    opened: list[str] = []

    def load(address: str) -> bytes:
        opened.append(address)
        if address == "/2":
            raise ContentError("it is gone")
        return png_file(1)

    encoders = configured_encoders(Settings(), {"images"})
    encoder = TaskEncoder([Field("pages", "images")], load, encoders)
    _, failed = encoder.encode([{"pages": json.dumps(["/1", "/2", "/3"])}])
    assert str(failed[0]) == "it is gone"
    assert opened == ["/1", "/2"]
    opened.clear()
    encoder.encode([{"pages": json.dumps(["/1"] * 50)}])
    assert len(opened) == MOST_IMAGES


@pytest.mark.parametrize(
    ("pages", "content"),
    [
        ("/1", '["/1"]'),
        ('["/1", "/2"]', '["/1", "/2"]'),
        (["/1", None, "", 3], '["/1"]'),
        ([], None),
        (None, None),
        ("", None),
    ],
)
def test_lists_of_images_are_read_in_every_shape(pages: Any, content: str | None) -> None:
    task = parse_label_config(f'<View><Image name="o" valueList="$pages"/>{CHOICES}</View>')
    assert task.content({"pages": pages}) == {"pages": content}


def test_images_of_a_repeater_are_several_images() -> None:
    config = (
        '<View><Repeater on="$pages"><Image name="i{{idx}}" value="$pages[{{idx}}].image"/>'
        '</Repeater><Text name="o" value="$text"/>' + CHOICES + "</View>"
    )
    task = parse_label_config(config)
    assert [field.kind for field in task.fields] == ["text", "images"]
    data = {"text": "t", "pages": [{"image": "/1"}, {"image": "/2"}]}
    assert task.content(data)[task.fields[1].name] == '["/1", "/2"]'
