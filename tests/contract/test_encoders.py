"""One contract for every encoder: add one, and add a class here that gives it contents."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.errors import ContentError
from active_learn_backend.learning.encoders import Encoder, configured_encoders
from active_learn_backend.learning.encoders.configured import EMBEDDED, PARTS
from active_learn_backend.settings import Settings
from media_files import RATE, audio_file, pdf_file, png_file, tone, video_file
from tiny_models import save_audio, save_bert, save_vit

LONGEST = 2**0.5 + 1e-3  # the embedded image encoder has two parts of unit length


class EncoderContract:
    """What every encoder promises."""

    kind: str
    # Contents that differ: texts, the bytes of files, or what `ContentReader` makes of a field.
    contents: tuple[Any, ...]
    # One that cannot be read; none where everything can.
    damaged: Any = None

    def setting(self, folder: Path) -> str:
        """Return the value of ENCODER, and save there what it names."""
        return ""

    @pytest.fixture
    def encoder(self, tmp_path: Path) -> Encoder:
        settings = Settings(model_dir=tmp_path, encoder=self.setting(tmp_path), device="cpu")
        return configured_encoders(settings, {self.kind})[self.kind]

    def test_vectors_are_finite_and_of_one_length(self, encoder: Encoder) -> None:
        vectors = encoder.encode(self.contents)
        assert vectors.shape == (len(self.contents), encoder.n_features)
        assert np.isfinite(vectors).all()
        assert (np.linalg.norm(vectors, axis=1) <= LONGEST).all()
        assert encoder.encode([]).shape == (0, encoder.n_features)

    def test_different_contents_have_different_vectors(self, encoder: Encoder) -> None:
        vectors = encoder.encode(self.contents)
        assert len(np.unique(np.round(vectors, 4), axis=0)) == len(self.contents)

    def test_a_vector_depends_on_its_content_alone(self, encoder: Encoder) -> None:
        together = encoder.encode(self.contents[::-1])[::-1]
        for content, vector in zip(self.contents, together, strict=True):
            np.testing.assert_allclose(encoder.encode([content])[0], vector, atol=1e-5)

    def test_a_process_that_loads_it_anew_has_the_same_fingerprint_and_vectors(
        self, encoder: Encoder, tmp_path: Path
    ) -> None:
        other = EncoderContract.encoder.__wrapped__(self, tmp_path)  # type: ignore[attr-defined]
        assert other.fingerprint == encoder.fingerprint
        expected = encoder.encode(self.contents)
        np.testing.assert_array_equal(other.encode(self.contents), expected)

    def test_its_fingerprint_is_fit_for_a_folder(self, encoder: Encoder) -> None:
        assert re.fullmatch(r"[\w.+-]{1,120}", encoder.fingerprint, re.ASCII)

    def test_threads_prepare_at_once(self, encoder: Encoder) -> None:
        many = [self.contents[at % len(self.contents)] for at in range(12)]
        with ThreadPoolExecutor(8) as pool:
            prepared = list(pool.map(encoder.prepare, many))
        np.testing.assert_allclose(encoder.run(prepared), encoder.encode(many), atol=1e-5)

    def test_what_cannot_be_read_is_a_content_error(self, encoder: Encoder) -> None:
        if self.damaged is not None:
            with pytest.raises(ContentError):
                encoder.prepare(self.damaged)


class TestText(EncoderContract):
    kind = "text"
    contents = ("where is my card", "exchange rate", "x " * 5000)


class TestImage(EncoderContract):
    kind = "image"
    contents = (png_file(0), png_file(1), png_file(2, (300, 20)))
    damaged = png_file(0)[:50]


class TestImages(EncoderContract):
    kind = "images"
    contents = ((png_file(0),), (png_file(0), png_file(1)), (png_file(1), png_file(2)))
    damaged = ()


class TestAudio(EncoderContract):
    kind = "audio"
    contents = (
        audio_file(tone(300)),
        audio_file(tone(2000, 1.5), "mp3"),
        audio_file(np.random.default_rng(0).normal(size=RATE) / 9),
    )
    damaged = b"RIFF"


def stripes(width: int) -> np.ndarray:
    row = np.arange(48) // width % 2 * 255
    return np.broadcast_to(row[None, None, :, None], (9, 48, 48, 3)).astype(np.uint8)


class TestVideo(EncoderContract):
    kind = "video"
    contents = (video_file(stripes(4)), video_file(stripes(12), "webm"))
    damaged = b"ftyp"


class TestPdf(EncoderContract):
    kind = "pdf"
    contents = (
        pdf_file("An invoice about chairs"),
        pdf_file("A letter from the sea"),
        pdf_file("7"),
    )
    damaged = b"%PDF-1.4"


class TestTimeSeries(EncoderContract):
    kind = "time series"
    contents = tuple(
        np.random.default_rng(seed).normal(size=(channels, 50)).astype(np.float32)
        for seed, channels in ((0, 2), (1, 2), (2, 9))
    )


class TestHuggingFaceText(TestText):
    contents = ("where is my card", "exchange rate", "why")

    def setting(self, folder: Path) -> str:
        return str(save_bert(folder / "bert"))


class TestHuggingFaceImage(TestImage):
    def setting(self, folder: Path) -> str:
        return str(save_vit(folder / "vit"))


class TestHuggingFaceWaves(TestAudio):
    def setting(self, folder: Path) -> str:
        return str(save_audio(folder / "audio", "Wav2Vec2"))


class TestHuggingFaceSpectrogram(TestAudio):
    def setting(self, folder: Path) -> str:
        return str(save_audio(folder / "audio", "Clap"))


class TestHuggingFaceVideo(TestVideo):
    def setting(self, folder: Path) -> str:
        return str(save_vit(folder / "vit"))


def test_every_kind_is_held_to_the_contract() -> None:
    assert {one.kind for one in EncoderContract.__subclasses__()} == EMBEDDED.keys() | PARTS.keys()
