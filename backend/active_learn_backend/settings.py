"""The one table of settings: environment variables, each also a flag of the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import SettingsError
from .setting_types import Number, OptionalUrl, Prelabel, ProxyUrl, Url

__all__ = [
    "BATCH",
    "LOW_WATER",
    "RANDOM_STATE",
    "REMOVED",
    "SECRETS",
    "Settings",
    "load_settings",
    "removed_variables",
]

# What several rooms share and nobody has to turn.
BATCH = 20  # tasks of a round of a stream, whose budget is a rate
LOW_WATER = 0.2  # share of the batch still open at which a round starts early
RANDOM_STATE = 0  # seed of everything random: two backends with the same labels agree

#: Settings of earlier versions. Their variables are reported, and ignored, as are project params.
REMOVED = (
    "batch_size",
    "content_timeout",
    "debounce",
    "keep_heads",
    "lease_seconds",
    "low_water",
    "max_image_megapixels",
    "max_request_mb",
    "precompute_covariance",
    "random_state",
    "ray_cpus",
    "seed_fisher",
)


class Settings(BaseSettings):
    """Settings of web process and worker; names are those that Label Studio's backends use."""

    model_config = SettingsConfigDict(
        extra="ignore", validate_default=True, populate_by_name=True, env_ignore_empty=True
    )

    label_studio_url: Url = Field(
        "http://localhost:8080",
        validation_alias=AliasChoices("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
        description="Address of Label Studio as seen from this backend.",
    )
    label_studio_api_key: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("LABEL_STUDIO_API_KEY", "LABEL_STUDIO_ACCESS_TOKEN"),
        description="Personal access token or legacy token of a user who may change the project.",
    )
    label_studio_ca_file: Path | None = Field(
        None,
        validation_alias=AliasChoices(
            "LABEL_STUDIO_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"
        ),
        description="PEM file of certificate authorities that are trusted besides the public ones, "
        "such as a company's own.",
    )
    label_studio_public_url: OptionalUrl = Field(
        "",
        description="Address that Label Studio itself calls its own (its HOST), where it is not "
        "LABEL_STUDIO_URL: files that tasks name by it are fetched from LABEL_STUDIO_URL.",
    )
    label_studio_proxy: ProxyUrl = Field(
        SecretStr(""),
        description="Proxy for the requests to Label Studio, `http://host:3128`, also with "
        "`user:password@`; empty: none.",
    )
    model_dir: Path = Field(
        # Absolute, so that a command in another folder finds the running backend's state.
        default_factory=lambda: user_data_path("label-studio-active-sampler", appauthor=False),
        description="Folder of all state on disk: project state, embeddings, trained heads. Not "
        "set: a folder of the user, on Linux `~/.local/share/label-studio-active-sampler`.",
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy address of the project state; empty: SQLite inside MODEL_DIR.",
    )
    host: str = Field("127.0.0.1", description="Address that the web process listens on.")
    port: int = Field(9090, ge=1, le=65535, description="Port that the web process listens on.")
    backend_url: OptionalUrl = Field(
        "",
        description="Address of this backend as seen from Label Studio; empty: http://HOST:PORT.",
    )
    allowed_hosts: str = Field(
        "",
        description="Further names under which requests may reach this backend, separated by "
        "commas. The name in BACKEND_URL, localhost and IP addresses always may.",
    )
    basic_auth_user: str = Field("", description="User of Basic auth; empty: no auth.")
    basic_auth_pass: SecretStr = Field(SecretStr(""), description="Password of Basic auth.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="How much the log says."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines of the log: `text`, or `json` objects."
    )
    worker_threads: int = Field(
        2, ge=1, le=32, description="Projects that one worker runs rounds of side by side."
    )
    web_processes: int = Field(
        1,
        ge=1,
        le=32,
        validation_alias=AliasChoices("WEB_PROCESSES", "WORKERS"),
        description="Web processes.",
    )
    web_threads: int = Field(
        8,
        ge=3,
        le=64,
        validation_alias=AliasChoices("WEB_THREADS", "THREADS"),
        description="Threads of each web process.",
    )

    budget: Number = Field(
        BATCH,
        gt=0,
        le=1000,
        description="Whole number: tasks that one round selects. Share below 1: tasks are decided "
        "on as they are imported, and this share of them is queued.",
    )
    reserve: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Tasks published behind the batch, so that annotators never run dry. Empty: at "
        "least 30, and twice the people of Label Studio's organization, up to 500.",
    )
    retrain_every: int = Field(
        10, ge=1, description="New labels after which a new round starts, batch used up or not."
    )
    strategy: str = Field("auto", description="Selection strategy (see the library's strategies).")
    encoder: str = Field(
        "",
        description="Hugging Face encoders, names or folders, separated by commas: one for text, "
        "one for images, one for audio. `minilm`: the packaged one. Empty: the embedded ones.",
    )
    model: str = Field(
        "",
        description="The team's own model: a Hugging Face folder, an ONNX, TorchScript or "
        "torch.export file, or a Python factory `module:function`; where regions are labeled a "
        "token classifier or a detector (with `MODEL_USE=encoder` a vision model, too). Empty: our "
        "head learns.",
    )
    model_use: Literal["as-is", "encoder"] = Field(
        "as-is",
        description="`as-is`: the own model's logits decide. `encoder`: only its embeddings are "
        "used, and our head learns on them.",
    )
    train_command: str = Field(
        "",
        description="Command that trains the team's own model on the labels (`/bin/sh`), see "
        "backend/docs/training.md; empty: none.",
    )
    train: Literal["off", "lora", "full"] = Field(
        "off",
        description="Built-in training of a Hugging Face classifier on the labels: `lora` (few "
        "weights beside the fixed ones), `full` (all weights), `off`.",
    )
    train_every: int = Field(
        100, ge=1, description="New training labels after which the model is trained again."
    )
    train_timeout: float = Field(
        3600.0, gt=0, description="Seconds after which a training is ended."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where encoders and own models run."
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Where tasks are embedded and ranked: `local` (this machine), or `ray` "
        "(a Ray cluster, see backend/docs/scaling.md).",
    )
    ray_address: str = Field(
        "",
        description="Head of the Ray cluster, `host:6379`; empty: Ray is started on this machine.",
    )
    ray_workers: int = Field(
        0, ge=0, le=10_000, description="Encoders at once on Ray; 0: as many as fit."
    )
    ray_gpus: float = Field(
        0.0, ge=0, le=16, description="GPUs of each encoder on Ray, or a share."
    )
    ray_train_cpus: float = Field(
        1.0, gt=0, le=1024, description="CPUs of a fine-tuning (`TRAIN`) on Ray."
    )
    ray_train_gpus: float = Field(
        0.0, ge=0, le=16, description="GPUs of a fine-tuning (`TRAIN`) on Ray, or a share."
    )
    ray_shards: str = Field(
        "",
        description="Folder that all machines of the cluster see, or an address such as "
        "`s3://bucket/folder`, where encoders leave what they embedded; empty: inside MODEL_DIR.",
    )
    partition_rows: int = Field(
        100_000, ge=1_000, description="Most tasks that one worker ranks on Ray."
    )
    controls: str = Field(
        "",
        description="Names of the controls that are learned, separated by commas; empty: all that "
        "can be.",
    )
    class_weight: Literal["none", "balanced"] = Field(
        "none", description="Weights of the classes when the head is trained."
    )
    audit: float = Field(
        0.05,
        ge=0,
        le=0.5,
        description="Share of the served tasks that only measure quality: drawn by a hash, never "
        "trained on. 0: no estimate.",
    )
    advice_url: OptionalUrl = Field(
        "",
        description="Address that is sent a JSON message (POST) when the advice whether to go on "
        "labeling changes; empty: none.",
    )
    prelabel: Prelabel = Field(
        "0.7",
        description="Which answers annotators see in the queue: ours from this score on, such as "
        "`0.7`; `head` (all of ours); `none`; or `keep:<version>` (the team's own predictions of "
        "that version).",
    )
    poll_interval: float = Field(
        10.0,
        gt=0,
        description="Seconds between looks at Label Studio when no webhook arrives; more in a "
        "project where nothing changes.",
    )
    request_timeout: float = Field(
        30.0,
        gt=0,
        description="Seconds to wait for one answer of Label Studio; longer where it stores a "
        "queue.",
    )
    max_content_mb: float = Field(
        32.0, gt=0, description="Largest image, audio file or document of a task, in MiB."
    )
    max_video_mb: float = Field(200.0, gt=0, description="Largest video of a task, in MiB.")
    content_hosts: str = Field(
        "",
        description="Further hosts that images and texts of tasks are fetched from, separated by "
        "commas, such as `bucket.s3.amazonaws.com`. Label Studio itself is always one.",
    )
    content_private: bool = Field(
        False, description="Let those hosts have private addresses (10.*, 192.168.*, ...)."
    )
    content_roots: str = Field(
        "", description="Folders, separated by commas, that `file://` addresses may lead into."
    )

    @field_validator("label_studio_url", "backend_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @field_validator("budget")
    @classmethod
    def _whole_or_share(cls, value: int | float) -> int | float:
        if isinstance(value, float) and value >= 1:
            raise ValueError("expected a whole number, or a share below 1")
        return value

    @field_validator("train")
    @classmethod
    def _one_training(cls, value: str, info: ValidationInfo) -> str:
        if value != "off" and info.data.get("train_command"):
            raise ValueError("expected off, because TRAIN_COMMAND is set; unset one of the two")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def url(self) -> str:
        """Address of this backend as Label Studio calls it."""
        host = "localhost" if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104
        return self.backend_url or f"http://{host}:{self.port}"

    @property
    def batch(self) -> int:
        """Tasks that one round selects, also of a stream."""
        return self.budget if isinstance(self.budget, int) else BATCH

    @property
    def store_url(self) -> str:
        """SQLAlchemy address of the project state."""
        return self.database_url or f"sqlite:///{self.model_dir.resolve() / 'state.sqlite3'}"


#: Settings that are no flags, because every user of a machine sees the flags of all processes.
SECRETS = tuple(
    name for name, one in Settings.model_fields.items() if isinstance(one.default, SecretStr)
)


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment, flags on top.

    Below both: files with the value of one setting each. ``LABEL_STUDIO_API_KEY_FILE`` and the like
    name one, for each of `SECRETS`. The files of the folder that ``SECRETS_DIR`` names bear the
    setting's name in lower case, as containers mount secrets.

    Raises
    ------
    SettingsError
        With one line per bad value, never showing a secret.
    """
    given = _secrets_in_files() | {
        name: value for name, value in overrides.items() if value is not None
    }
    folder = os.environ.get("SECRETS_DIR") or None
    if folder and not Path(folder).is_dir():
        raise SettingsError(f"SECRETS_DIR is {folder}, which is no folder; correct or unset it")
    try:
        return Settings(_secrets_dir=folder, **given)  # type: ignore[arg-type, call-arg]
    except ValidationError as error:
        lines = [
            f"{str(item['loc'][0]).upper()}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False, include_url=False)
        ]
        # A value of two types is refused once for each.
        raise SettingsError("bad settings: " + "; ".join(dict.fromkeys(lines))) from None


def _secrets_in_files() -> dict[str, object]:
    """Read the secrets whose files are named, unless they are in the environment itself."""
    found: dict[str, object] = {}
    for name in SECRETS:
        file = os.environ.get(f"{name.upper()}_FILE")
        if file and not os.environ.get(name.upper()):
            try:
                found[name] = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"{name.upper()}_FILE is {file}, which cannot be read "
                    f"({getattr(error, 'strerror', None) or 'no text'}); correct or unset it"
                ) from error
    return found


def removed_variables(environment: Mapping[str, str]) -> list[str]:
    """Return the environment variables of settings that earlier versions had."""
    return [name.upper() for name in REMOVED if name.upper() in environment]


@lru_cache(maxsize=1)
def environment_settings() -> Settings:
    """Read the settings of a process that was given no flags (hosted by label-studio-ml)."""
    return load_settings()
