"""Embedded encoders and the embedding cache."""

from __future__ import annotations

import io
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from active_learn_backend.errors import ContentError
from active_learn_backend.labeling.config import Field
from active_learn_backend.learning.embedding.cache import KEY_BYTES, EmbeddingCache
from active_learn_backend.learning.encoders import (
    ImageEncoder,
    TaskEncoder,
    TextEncoder,
    configured_encoders,
    images,
)
from active_learn_backend.learning.encoders.images import open_image
from active_learn_backend.settings import load_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression


def png(pixels: np.ndarray, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def keys(*numbers: int) -> list[str]:
    return [f"{number:032x}" for number in numbers]


# -- encoders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_of_image_gives_finite_parts_of_unit_length(mode: str) -> None:
    pixels = np.arange(64 * 48).reshape(64, 48) % 251
    image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    vector = ImageEncoder().encode([buffer.getvalue()])[0]
    assert vector.shape == (ImageEncoder.n_features,)
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(np.sqrt(2), rel=1e-3)


def test_a_blank_image_is_zero_and_not_nan() -> None:
    vector = ImageEncoder().encode([png(np.full((20, 20), 77))])[0]
    assert np.array_equal(vector, np.zeros_like(vector))


def test_image_features_tell_digits_apart() -> None:
    images, truth = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(truth))[:600]  # the writers mixed
    images, truth = images[chosen], truth[chosen]
    vectors = ImageEncoder().encode([png(image.reshape(8, 8) * 15) for image in images])
    model = LogisticRegression(C=10, max_iter=1000).fit(vectors[:400], truth[:400])
    assert model.score(vectors[400:], truth[400:]) > 0.9


@pytest.mark.parametrize("data", [b"", b"not an image", png(np.zeros((9, 9)))[:40]])
def test_a_damaged_image_is_a_content_error(data: bytes) -> None:
    with pytest.raises(ContentError):
        ImageEncoder().encode([data])


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "MAX_MEGAPIXELS", 0.01)
    with pytest.raises(ContentError, match="megapixels that are decoded; make it smaller"):
        ImageEncoder().encode([png(np.zeros((101, 100)))])


def test_texts_are_near_their_like() -> None:
    texts = ["where is my card?", "Where is my new card", "exchange rates for the euro", ""]
    vectors = TextEncoder().encode(texts)
    assert vectors.shape == (4, TextEncoder.n_features)
    assert np.isfinite(vectors).all()
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert np.array_equal(vectors, TextEncoder().encode(texts))


def test_a_task_that_cannot_be_read_leaves_the_others() -> None:
    def load(address: str) -> bytes:
        if address == "gone":
            raise ContentError("it is gone")
        return png(np.arange(100).reshape(10, 10))

    encoder = TaskEncoder(
        [Field("image", "image"), Field("text", "text")],
        load,
        {"image": ImageEncoder(), "text": TextEncoder()},
    )
    contents: list[dict[str, Any]] = [
        {"image": "a", "text": "x"},
        {"image": "gone", "text": "x"},
        {"image": None, "text": "x"},
        {"image": "a", "text": ["list"]},
        {"image": "a", "text": "lone surrogate \ud800"},
    ]
    vectors, failed = encoder.encode(contents)
    assert vectors.shape == (5, ImageEncoder.n_features + TextEncoder.n_features)
    assert sorted(failed) == [1, 2, 3]
    assert not vectors[[1, 2, 3]].any()
    assert vectors[0].any()
    assert vectors[4].any()


def test_what_stands_beside_may_be_missing() -> None:
    """A picture that only some tasks have: zeros for the others, which are learned all the same."""
    fields = (Field("text", "text"), Field("image", "image", required=False))
    encoders = configured_encoders(load_settings(), {"text", "image"})
    encoder = TaskEncoder(fields, lambda _: png(np.eye(10) * 200), encoders)
    vectors, failed = encoder.encode(
        [{"text": "x", "image": "a"}, {"text": "x", "image": None}, {"text": None, "image": "a"}]
    )
    assert sorted(failed) == [2]
    n_text = TextEncoder.n_features
    assert np.array_equal(vectors[0, :n_text], vectors[1, :n_text])
    assert vectors[0, n_text:].any()
    assert not vectors[1, n_text:].any()


# -- the cache ----------------------------------------------------------------------------------


def test_rows_survive_and_are_never_written_twice(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float16).astype(np.float32)
    cache = EmbeddingCache(tmp_path, 5)
    assert cache.missing(keys(1, 2, 1)) == [0, 1]
    cache.add(keys(1, 2), vectors[:2])
    other = EmbeddingCache(tmp_path, 5)
    other.add(keys(2, 3), vectors[[0, 2]])
    assert len(other) == 3
    assert cache.missing(keys(1, 2, 3, 4)) == [3]
    assert np.array_equal(cache.get(keys(3, 1, 2, 1)), vectors[[2, 0, 1, 0]])
    with pytest.raises(KeyError):
        cache.get(keys(9))
    assert cache.get([]).shape == (0, 5)


@settings(max_examples=30)
@given(cut=st.integers(0, 100), in_keys=st.booleans())
def test_a_crash_in_mid_write_costs_at_most_the_last_rows(
    tmp_path_factory: pytest.TempPathFactory, cut: int, in_keys: bool
) -> None:
    """Cut either file after any byte of the second write: what was whole before stays whole."""
    folder = tmp_path_factory.mktemp("cache")
    vectors = np.arange(20, dtype=np.float32).reshape(5, 4)
    EmbeddingCache(folder, 4).add(keys(1, 2), vectors[:2])
    EmbeddingCache(folder, 4).add(keys(3, 4), vectors[2:4])
    if in_keys:  # the vectors are on disk before the first key is written
        with (folder / "keys.bin").open("r+b") as file:
            file.truncate(2 * KEY_BYTES + min(cut, 2 * KEY_BYTES))
    else:
        with (folder / "vectors.f16").open("r+b") as file:
            file.truncate(2 * 8 + min(cut, 2 * 8))
        with (folder / "keys.bin").open("r+b") as file:
            file.truncate(2 * KEY_BYTES)
    cache = EmbeddingCache(folder, 4)
    missing = cache.missing(keys(1, 2, 3, 4))
    assert set(missing) <= {2, 3}
    cache.add([keys(1, 2, 3, 4)[at] for at in missing], vectors[missing])
    cache.add(keys(5), vectors[4:])
    assert np.array_equal(EmbeddingCache(folder, 4).get(keys(1, 2, 3, 4, 5)), vectors)


def test_a_cache_that_stays_open_sees_when_its_folder_is_made_anew(tmp_path: Path) -> None:
    vectors = np.arange(20, dtype=np.float32).reshape(5, 4)
    folder = tmp_path / "cache"
    cache = EmbeddingCache(folder, 4)
    cache.add(keys(1, 2), vectors[:2])
    shutil.rmtree(folder)
    assert cache.missing(keys(1, 2)) == [0, 1]
    EmbeddingCache(folder, 4).add(keys(5, 4, 3), vectors[2:])
    assert cache.missing(keys(1, 3, 4, 5)) == [0]
    assert np.array_equal(cache.get(keys(3, 4, 5)), vectors[[4, 3, 2]])
    shutil.rmtree(folder)
    other = EmbeddingCache(folder, 4)
    other.add(keys(*range(10, 15)), vectors)  # more than there were
    assert cache.missing(keys(3, 10)) == [0]
    assert np.array_equal(cache.get(keys(14)), vectors[4:])


@pytest.mark.parametrize("shared", [True, False])
def test_many_writers_at_once_lose_nothing(tmp_path: Path, shared: bool) -> None:
    """Each with the cache opened for itself, or all with one that is open."""
    vectors = np.arange(200, dtype=np.float32).reshape(50, 4)
    one = EmbeddingCache(tmp_path, 4)

    def write(start: int) -> None:
        cache = one if shared else EmbeddingCache(tmp_path, 4)
        for at in range(start, 50):
            cache.add(keys(at), vectors[at : at + 1])
            assert np.array_equal(cache.get(keys(at)), vectors[at : at + 1])

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cache = EmbeddingCache(tmp_path, 4)
    assert len(cache) == 50
    assert np.array_equal(cache.get(keys(*range(50))), vectors)


def test_only_their_owner_can_read_embeddings(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = tmp_path / "projects" / "1" / "embeddings" / "x"
        EmbeddingCache(folder, 2).add(keys(1), np.zeros((1, 2), np.float32))
        old = tmp_path / "old"  # of a version that let others read it
        old.mkdir(mode=0o755)
        EmbeddingCache(old, 2).add(keys(1), np.zeros((1, 2), np.float32))
    finally:
        os.umask(before)
    for one in (*tmp_path.glob("projects/**/"), old):
        assert stat.S_IMODE(one.stat().st_mode) == 0o700, one
    files = [one for one in folder.iterdir() if one.is_file()]
    assert {one.name for one in files} == {"keys.bin", "vectors.f16", "lock"}
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_formats_of_the_list_are_decoded(name: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(file, name)
    assert open_image(file.getvalue()).size == (8, 8)


@pytest.mark.parametrize("name", ["EPS", "PDF", "PCX", "SGI", "ICNS", "TGA", "JPEG2000", "SPIDER"])
def test_only_formats_of_the_list_are_decoded(name: str) -> None:
    file = io.BytesIO()
    mode = "F" if name == "SPIDER" else "RGB"
    Image.new(mode, (16, 16)).save(file, name)
    with pytest.raises(ContentError, match=r"a file is .*; expected PNG, JPEG, GIF"):
        open_image(file.getvalue())


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG (convert it to PNG)"),
        (
            b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by x -->\n<svg>',
            "SVG (convert it to PNG)",
        ),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC (convert it to JPEG)"),
        (b"%PDF-1.7\n", "PDF (show it by <Pdf>)"),
        (b"\0\0\0\x20ftypisom", "MP4 (show it by <Video> or <Audio>)"),
        (b"<!DOCTYPE html><html>", "a web page (is a login needed?)"),
        (b'{"detail": "Not found"}', "JSON (is the address one of an API?)"),
        (b"\0" * 128 + b"DICM", "DICOM (convert it to PNG)"),
    ],
)
def test_a_file_that_is_often_taken_for_an_image_is_named(data: bytes, name: str) -> None:
    with pytest.raises(ContentError) as refused:
        open_image(data)
    assert str(refused.value).startswith(f"a file is {name}, which is not read as an image")


RED, BLUE = (220, 20, 30), (0, 0, 255)


COLORED = [("JPEG", "CMYK"), ("TIFF", "CMYK"), ("TIFF", "LAB"), ("PNG", "P")]
COLORED += [("GIF", "P"), ("WEBP", "RGB"), ("BMP", "RGB"), ("PPM", "RGB"), ("AVIF", "RGB")]
if int(PIL.__version__.partition(".")[0]) >= 13:  # older ones cannot read what they write
    COLORED.append(("TIFF", "YCbCr"))


@pytest.mark.parametrize(("kind", "mode"), [one for one in COLORED if one[0] in images.FORMATS])
def test_colors_of_every_format_are_those_that_are_shown(kind: str, mode: str) -> None:
    image = Image.new("RGB", (32, 32), RED).convert(mode)
    opened = open_image(file_of(image, kind))
    assert opened.mode == "RGB"
    palette = 40 if mode == "P" else 8  # the palette of the web has not each color
    np.testing.assert_allclose(np.asarray(opened)[9, 9], RED, atol=palette)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_an_animation_and_of_several_pages_the_first_counts(kind: str) -> None:
    first, second = (Image.new("RGB", (32, 32), color) for color in (RED, BLUE))
    file = file_of(first, kind, save_all=True, append_images=[second])
    np.testing.assert_allclose(np.asarray(open_image(file))[9, 9], RED, atol=8)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_an_image_is_turned_as_its_exif_data_says() -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 20, 20))  # the left half
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = open_image(file_of(image, "JPEG", exif=exif, quality=95))
    assert turned.size == (20, 40)
    pixels = np.asarray(turned.convert("L"))
    assert pixels[:16].max() < 60 < 200 < pixels[24:].min()  # the left half is on top


def test_sixteen_bits_are_scaled_and_not_cut_off() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    gray = np.asarray(open_image(file_of(Image.fromarray(ramp))).convert("L"))
    assert (int(gray.min()), int(gray.max())) == (0, 255)
    assert np.all(np.diff(gray.ravel().astype(int)) >= 0)
    floats = Image.fromarray(np.linspace(-3, 7, 64, dtype=np.float32).reshape(8, 8))
    gray = np.asarray(open_image(file_of(floats, "TIFF")).convert("L"))
    assert (int(gray.min()), int(gray.max())) == (0, 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    options = {}
    if mode == "P":
        pixels = np.ones((8, 8), np.uint8)
        pixels[:, :4] = 0
        image = Image.fromarray(pixels).convert("P")
        image.putpalette([0, 0, 0, 10, 10, 10])
        options = {"transparency": 1}
    else:
        image = image.convert(mode)
    shown = np.asarray(open_image(file_of(image, **options)))
    assert np.all(shown[:, :4] == 0)
    assert np.all(shown[:, 4:] == 255)
