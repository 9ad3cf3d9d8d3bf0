"""The tuned config: one small YAML file that says everything about a fine-tuning run, and builds its objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autopeft.errors import FileFormatError, ModelError
from autopeft.files import parse, plain, read_yaml, to_yaml, write_text
from autopeft.values.candidates import Candidate, Setup
from autopeft.values.data import DataSpec
from autopeft.values.names import Task
from autopeft.values.outcomes import Score

if TYPE_CHECKING:
    from autopeft.data import EncodedDataset
    from autopeft.training.base import Base
    from autopeft.values.profiles import ModelProfile

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ModelReference:
    """The base model: where it was, and the fingerprint of its config, which another place must match."""

    source: str
    fingerprint: str
    task: Task
    labels: int


@dataclass(frozen=True, kw_only=True)
class FullTraining:
    """How the full training goes, as far as the candidate does not say.

    Attributes:
        steps: optimizer steps that ``epochs`` over the searched data come to.
        head_seed: the fresh task head is drawn from it.
    """

    epochs: float
    steps: int
    warmup_share: float
    weight_decay: float
    max_gradient_norm: float
    seed: int
    head_seed: int


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the choice comes from: the search's scores, its trials by status, and its seconds.

    Attributes:
        validation: None where the search scored with somebody else's trainer, which tells no score by row.
        test: None where no rows were kept from the search.
        reasons: rules and measured runs that spoke for the method before the search, with their sources.
    """

    autopeft_version: str
    validation: Score | None = None
    test: Score | None = None
    trials: Mapping[str, int] = field(default_factory=dict)
    search_seconds: float = 0.0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TunedConfig:
    """A tuned configuration, loaded from or saved to one YAML file.

    Example:
        >>> tuned = TunedConfig.load("tuned.yaml")  # doctest: +SKIP
        >>> model, tokenizer = tuned.load_model()  # doctest: +SKIP
    """

    schema_version: int
    model: ModelReference
    candidate: Candidate
    data: DataSpec
    training: FullTraining
    provenance: Provenance

    @staticmethod
    def load(path: str | Path) -> "TunedConfig":
        """Returns the config in a file.

        Raises:
            FileFormatError: the file is missing, not YAML, of another schema version, or has wrong keys.
        """
        content = read_yaml(Path(path))
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise FileFormatError(
                f"`schema_version` of {path} must be {SCHEMA_VERSION}; got {version!r}.\n"
                "A newer version needs a newer autopeft."
            )
        return parse(TunedConfig, content, str(path))

    def save(self, path: str | Path) -> None:
        """Writes the config; the same config gives the same bytes."""
        write_text(Path(path), to_yaml(plain(self)))

    def load_model(self, *, device: str | None = None) -> tuple[Any, Any]:
        """Returns the model, quantized as chosen and with the method attached, and its tokenizer.

        Args:
            device: torch's name for it; the first GPU that this process sees, or the CPU, by default.

        Raises:
            ModelError: the model's config is not the one that was tuned, or its weights cannot be loaded.
        """
        base = self.load_base(device=device)
        return self.attach(base), base.tokenizer

    def attach(self, base: "Base") -> Any:
        """Returns a base from `load_base` with the method attached, ready to train; the base's own model is altered."""
        import torch

        from autopeft.methods import get_method

        torch.manual_seed(self.training.seed)
        return self._weighed(get_method(self.candidate.method).apply(base.model, self.setup()))

    def _weighed(self, model: Any) -> Any:
        """Returns an attached model that weighs its classes in the loss, where the search did."""
        from autopeft.training.class_weights import attach_class_weights

        if self.data.class_weights is not None:
            attach_class_weights(model, self.data.class_weights)
        return model

    def load_trained(self, folder: str | Path, *, device: str | None = None, quantized: bool = True) -> tuple[Any, Any]:
        """Returns the model with the values that its training left in a folder, and its tokenizer.

        Args:
            folder: where the method saved what was trained.
            device: torch's name for it; the first GPU that this process sees, or the CPU, by default.
            quantized: whether the base is quantized as chosen; merging needs one that is not.

        Raises:
            ModelError: as `load_model`, or the folder holds no values for this model and this method.
        """
        from safetensors import SafetensorError

        from autopeft.methods import get_method

        setup = self.setup()
        if not quantized:
            setup = replace(setup, candidate=replace(setup.candidate, quantization="none"))
        base = self.load_base(device=device, quantized=quantized)
        try:
            model = get_method(self.candidate.method).load(base.model, setup, Path(folder))
        except SafetensorError as error:
            raise ModelError(f"The trained values in {folder} are cut short or damaged: {error}.") from error
        return self._weighed(model), base.tokenizer

    def setup(self) -> Setup:
        """Returns the candidate with the model and the task it meets: what methods' functions take.

        Raises:
            ModelError: the model's config is not the one that was tuned.
        """
        return Setup(
            model=self._profile(), task=self.model.task, candidate=self.candidate, total_steps=self.training.steps
        )

    def load_base(self, *, device: str | None = None, quantized: bool = True) -> "Base":
        """Returns the base model with its tokenizer, quantized as chosen, nothing attached and nothing trainable.

        Args:
            device: torch's name for it; the first GPU that this process sees, or the CPU, by default.
            quantized: whether the base is quantized as chosen.

        Raises:
            ModelError: the model's config is not the one that was tuned, or its weights cannot be loaded.
        """
        import torch

        from autopeft.training.base import load_base

        base = load_base(
            self._profile(),
            quantization=self.candidate.quantization if quantized else "none",
            dtype=self.candidate.dtype,
            head_seed=self.training.head_seed,
            device=device or ("cuda:0" if torch.cuda.is_available() else "cpu"),
            label_names=self.data.labels,
        )
        # A trainer that accumulates lets such a model count what its loss is a mean of, and most heads do not: their
        # gradients came out as many times too large. Told so, it divides, as the search does.
        base.model.accepts_loss_kwargs = False
        return base

    def prepare(self, source: str | Path) -> "dict[str, EncodedDataset]":
        """Returns the splits of a data source, prepared as in the search: ``train``, ``validation`` and ``test``.

        The same columns, label order, template, token limit and seed of the split. Rows fetched together are
        padded to the longest of them, so that transformers' default collator can stack them.
        """
        from autopeft.data import encode, load_like
        from autopeft.profiling.tokenizer import load_tokenizer

        data = load_like(self.data, str(source))
        encoded = encode(data, load_tokenizer(self.model.source), self._profile().kind)
        return dict(encoded.splits)

    def peft_config(self) -> Any:
        """Returns peft's config object, None where the method is not peft's."""
        from autopeft.methods import get_method

        return get_method(self.candidate.method).peft_config(self.setup())

    def quantization_config(self) -> Any:
        """Returns transformers' bitsandbytes config, None where the base is not quantized."""
        from autopeft.quantization import get_quantization

        return get_quantization(self.candidate.quantization).config(self.candidate.dtype)

    def training_arguments(self, output_dir: str | Path, **overrides: Any) -> Any:
        """Returns ``transformers.TrainingArguments`` of the full training.

        Args:
            output_dir: where the trainer writes.
            overrides: any other argument, or another value for one set here.
        """
        import torch
        from transformers import TrainingArguments

        # Where `load_model` places it: transformers takes any accelerator there is, and 16 bits for a request for one.
        here = {"use_cpu": not torch.cuda.is_available()}
        return TrainingArguments(**{**self.training_settings(output_dir), **here, **overrides})

    def training_settings(self, output_dir: str | Path) -> dict[str, Any]:
        """Returns the arguments of ``transformers.TrainingArguments`` that this config sets, as plain values."""
        from autopeft.optimizers import get_optimizer
        from autopeft.schedules import get_schedule, warmup_steps

        chosen, training, schedule = self.candidate, self.training, get_schedule(self.candidate.schedule)
        optimizer = get_optimizer(chosen.optimizer)
        arguments: dict[str, Any] = {
            "output_dir": str(output_dir),
            "learning_rate": chosen.learning_rate,
            "per_device_train_batch_size": chosen.batch_size,
            "gradient_accumulation_steps": chosen.accumulation,
            "gradient_checkpointing": chosen.gradient_checkpointing,
            "bf16": chosen.dtype == "bfloat16",
            "fp16": chosen.dtype == "float16",
            "optim": optimizer.trainer_name,
            **optimizer.trainer_arguments,
            "num_train_epochs": training.epochs,
            "lr_scheduler_type": schedule.trainer_name,
            "warmup_steps": training.warmup_share,
            "weight_decay": training.weight_decay,
            "max_grad_norm": training.max_gradient_norm,
            "seed": training.seed,
            "label_names": ["labels"],
            "remove_unused_columns": False,
            "report_to": "none",
        }
        after_warmup = training.steps - warmup_steps(training.steps, training.warmup_share)
        if options := schedule.trainer_options(after_warmup):
            arguments["lr_scheduler_kwargs"] = dict(options)
        if chosen.gradient_checkpointing:
            arguments["gradient_checkpointing_kwargs"] = {"use_reentrant": False}
        return arguments

    def callbacks(self, *, started: bool = False) -> list[Any]:
        """Returns the trainer callbacks that the candidate needs, such as rank updates during training.

        Args:
            started: whether the method was started from data already, where it starts from data.
        """
        from autopeft.training.callbacks import checkpointing_callbacks, method_callbacks

        own = method_callbacks(self.candidate.method, self.setup, started=started)
        return [*own, *checkpointing_callbacks(self.candidate)]

    def optimizers(self, model: Any) -> tuple[Any, None]:
        """Returns the optimizer for ``Trainer(optimizers=…)``; the trainer makes the schedule itself."""
        from autopeft.optimizers import get_optimizer

        build = get_optimizer(self.candidate.optimizer).build
        return build(model, self.candidate.learning_rate, self.training.weight_decay), None

    def _profile(self) -> "ModelProfile":
        from autopeft.profiling.model import read_model

        profile = read_model(self.model.source, self.model.task, max(1, self.model.labels))
        if profile.fingerprint != self.model.fingerprint:
            raise ModelError(
                f"`model` of the tuned config must be the model that was tuned; the config at {self.model.source} "
                f"is another one.\nPoint `model.source` to the right model, or search again.{_on_code(profile)}"
            )
        return profile


def _on_code(profile: "ModelProfile") -> str:
    """Returns what else may make a model another one: its own code, or the leave to run it."""
    from autopeft.profiling.code import brings_code
    from autopeft.profiling.source import find_model

    if not brings_code(find_model(profile.source).config or {}):
        return ""
    if profile.own_code:
        return "\nThe code that it brings along runs now: it may have changed, or not have run before."
    return "\nIt brings code along: where that ran before, add --trust-remote-code."
