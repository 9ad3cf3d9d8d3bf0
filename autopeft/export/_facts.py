"""What the exports read off a tuned config, in words that other tools share."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopeft.data import ChatForm, chat_form, delimiter_of
from autopeft.errors import invalid
from autopeft.methods import get_method, target_modules
from autopeft.optimizers import get_optimizer
from autopeft.quantization import get_quantization
from autopeft.tuned import TunedConfig
from autopeft.values.candidates import Setup

LOW_RANK = "LORA"
"""peft's name for the type of adapter that nearly all tools know."""

_LANGUAGE = frozenset({"generation", "instruction", "reasoning"})
_BOOKKEEPING = frozenset(
    {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
     "target_modules", "modules_to_save", "fan_in_fan_out", "runtime_config"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A tuned config, resolved.

    Attributes:
        tool: the target's title, for errors.
        peft_type: peft's type of adapter in capitals; empty where the method is not peft's.
        adapter: peft's config as plain values; empty where there is none.
        changed: those of its values that are not peft's defaults.
        full: whether all weights train.
        modules: full names of the targeted modules; empty for methods without targets.
        targets: the shortest names that select exactly these modules.
        quantization: bitsandbytes' settings; empty for an unquantized base.
        warmup_steps: optimizer steps over which the learning rate rises.
        chat: how the data writes its chats; None where it has none, or does not lie here.
    """

    tool: str
    tuned: TunedConfig
    setup: Setup
    peft_type: str
    adapter: Mapping[str, Any]
    changed: Mapping[str, Any]
    full: bool
    modules: tuple[str, ...]
    targets: tuple[str, ...]
    quantization: Mapping[str, Any]
    warmup_steps: int
    chat: ChatForm | None

    @property
    def bits(self) -> int:
        """Bits that the base's weights are quantized to, 0 where they are not."""
        return next((bits for bits in (4, 8) if self.quantization.get(f"load_in_{bits}bit")), 0)

    @property
    def rate_ratio(self) -> float | None:
        """How many times faster the second factor learns, where the optimizer has two rates."""
        return get_optimizer(self.tuned.candidate.optimizer).options.get("ratio")

    @property
    def whole_epochs(self) -> int:
        """The epochs as a tool counts them that knows whole ones."""
        return max(1, round(self.tuned.training.epochs))

    @property
    def data_suffix(self) -> str:
        """How the data is written, by the end of its name; a text file is a table unless its lines are the rows."""
        data = self.tuned.data
        suffix = Path(data.source).suffix.lower()
        return ".tsv" if suffix == ".txt" and dict(data.columns) != {"text": "text"} else suffix

    def named(self, names: Mapping[str, str]) -> dict[str, Any]:
        """Returns the adapter's settings under a tool's own names.

        Args:
            names: the tool's name → peft's.
        """
        return {theirs: self.adapter[ours] for theirs, ours in names.items()}

    def require_decoder_with(self, *types: str, full: bool = False) -> None:
        """Lets a config pass that trains a decoder, from a folder or a hub, by a method that the tool has.

        Raises:
            InvalidValueError: the task, the data, the method or the model is another one.
        """
        self.require_language()
        self.require_columns()
        self.require_file()
        self.require_adapter(*types, full=full)

    def require_language(self) -> None:
        """Lets a config pass whose task is to write text with a decoder.

        Raises:
            InvalidValueError: it is another task.
        """
        if self.setup.task not in _LANGUAGE or self.setup.model.kind != "decoder":
            raise invalid(
                "model.task", f"a config for {self.tool}", f"one of {', '.join(sorted(_LANGUAGE))} on a decoder",
                self.setup.task, "Export --to transformers, or train it here: autopeft train.",
            )  # fmt: skip

    def require_columns(self) -> None:
        """Lets a config pass whose rows came from a file, a folder or the hub.

        Raises:
            InvalidValueError: they were a trainer's own, which no file can name.
        """
        if not self.tuned.data.columns:
            raise invalid(
                "data.columns", f"a config for {self.tool}", "those of a file or of data on the hub", {},
                "The data was a Trainer's own: export --to peft or --to transformers.",
            )  # fmt: skip

    def require_adapter(self, *types: str, full: bool = False) -> None:
        """Lets a config pass whose method the tool has.

        Raises:
            InvalidValueError: the tool lacks the method.
        """
        if self.peft_type in types or (full and self.full):
            return
        known = [name.lower() for name in types] + (["full fine-tuning"] if full else [])
        raise invalid(
            "candidate.method", f"a config for {self.tool}", f"a kind of {' or '.join(known)}, which is what it has",
            self.tuned.candidate.method, "Train it here instead: autopeft train.",
        )  # fmt: skip

    def require_file(self) -> None:
        """Lets a config pass whose base is a model folder or a hub name.

        Raises:
            InvalidValueError: it is a GGUF file, which these tools do not train.
        """
        if Path(self.tuned.model.source).suffix == ".gguf":
            raise invalid(
                "model.source", f"a config for {self.tool}", "a model folder or hub name", self.tuned.model.source
            )

    def left_over(self, expressed: Collection[str]) -> list[str]:
        """Returns a sentence for each of the adapter's settings, other than peft's default, that is not expressed."""
        missing = sorted(set(self.changed) - set(expressed) - _BOOKKEEPING)
        return [f"The adapter's `{key}` {self.changed[key]!r} is not expressed." for key in missing]

    def epochs_left(self) -> list[str]:
        """Returns a sentence where a tool that counts whole epochs cannot train for as long."""
        epochs = self.tuned.training.epochs
        same = epochs == self.whole_epochs
        return [] if same else [f"{epochs:g} epochs are not expressed: the tool counts whole ones."]

    def quantization_left(self) -> list[str]:
        """Returns a sentence where a file has no place for the base's quantization."""
        chosen = self.tuned.candidate.quantization
        return [f"The quantization {chosen!r} is set where the base model is loaded."] if self.quantization else []

    def start_left(self) -> list[str]:
        """Returns a sentence where a method is another one's adapter started elsewhere, which no setting of it says."""
        method = get_method(self.tuned.candidate.method)
        told = self.adapter.get("init_lora_weights", True) is not True
        if method.kind != "initialization" or told:
            return []
        return [f"The start of {method.title} is not expressed: the adapter begins where the tool begins it."]

    def separator_left(self) -> list[str]:
        """Returns a sentence where the cells of a table are not separated by commas, which tools take them to be."""
        path = Path(self.tuned.data.source).expanduser()
        if self.data_suffix not in (".csv", ".tsv"):
            return []
        used = delimiter_of(path) if path.is_file() else {".tsv": "\t"}.get(self.data_suffix, ",")
        said = f"The data's cells are separated by {used!r}, which is not expressed: write it with commas for the tool."
        return [] if used == "," else [said]

    def class_weights_left(self) -> list[str]:
        """Returns a sentence where the loss weighs classes."""
        weighed = self.tuned.data.class_weights is not None
        return ["The class weights in the loss are not expressed."] if weighed else []

    def input_left(self) -> list[str]:
        """Returns a sentence where a column that joins the prompt has no place."""
        columns = self.tuned.data.columns
        return (
            [f"The column {columns['input']!r} that joins the prompt is not expressed."] if "input" in columns else []
        )

    def split(self) -> str:
        """Returns in words how the search divided its rows."""
        data = self.tuned.data
        shares = "/".join(f"{100 * share:g}" for share in data.fractions)
        return f"the split of the search ({shares} %, seed {data.seed}, near-duplicates kept together)"

    def data_left(self) -> list[str]:
        """Returns a sentence for a file that says nothing of the data."""
        data = self.tuned.data
        columns = ", ".join(f"{role} from {column!r}" for role, column in data.columns.items())
        limit = f"{data.token_limit} tokens" if data.token_limit else "the tokenizer's own limit"
        order = [f"label ids in the order {', '.join(data.labels)}"] if data.labels else []
        # Of rows that were a trainer's own neither columns nor a split are known.
        known = [columns] if columns else []
        split = [self.split()] if columns else []
        said = ", ".join([*known, f"rows of at most {limit}", *order, *split, f"metric {data.metric}"])
        return [f"The data, {data.source}, is the script's own to load: {said}.", *self._head_left()]

    def _head_left(self) -> list[str]:
        fresh = bool(self.setup.model.head_modules)
        return (
            [f"The fresh task head, drawn by seed {self.tuned.training.head_seed}, is not expressed."] if fresh else []
        )

    def wrapping_left(self) -> list[str]:
        """Returns a sentence on how rows become text, which each tool does in its own way."""
        columns, chat = self.tuned.data.columns, "the tokenizer's chat template"
        if "messages" in columns:
            said = f"Chats go through {chat}, with the loss on the last assistant turn alone"
        elif "text" in columns:
            return []
        elif self.setup.task == "generation":
            said = "Prompt and completion are joined by a line break where neither has a space there"
        else:
            said = f"Prompt and completion go through {chat} as a question and its answer"
        return [f"{said}: compare how {self.tool} writes them, and what it counts."]

    def differences(self) -> list[str]:
        """Returns what every tool but autopeft does in its own way."""
        tuned, split = self.tuned, self.split()
        found = [
            f"{split[0].upper()}{split[1:]} is not expressed: scores on a validation set that the tool cuts are not "
            "comparable with the search's.",
            f"The metric {tuned.data.metric!r} and the best checkpoint by validation loss are not expressed.",
            *self.wrapping_left(),
        ]
        found += self.class_weights_left()
        found += [*self.start_left(), *self.separator_left()]
        if tuned.candidate.layers != "all" and not self.modules:
            found.append(f"The layers {tuned.candidate.layers!r} are not expressed.")
        return found

    def optimizer_left(self, *options: str) -> list[str]:
        """Returns a sentence where an optimizer is more than the name it goes by, options named here left out."""
        chosen = get_optimizer(self.tuned.candidate.optimizer)
        left = {key: value for key, value in chosen.options.items() if key not in options}
        plain = chosen.trainer_name.startswith(chosen.name.split("_")[0])
        if not left and (plain or chosen.options):
            return []
        if chosen.trainer_arguments:
            return [f"The optimizer {chosen.name} is the trainer's own {chosen.trainer_name}: {chosen.trainer_note}."]
        said = ", ".join(f"{key} {value}" for key, value in left.items()) or "its own update"
        return [f"The optimizer {chosen.name} ({said}) is not expressed; {chosen.trainer_name} stands for it."]


def collect(tuned: TunedConfig, tool: str) -> Facts:
    """Returns the facts of a tuned config.

    Raises:
        ModelError: the model's config is not the one that was tuned.
        InvalidValueError: its method is not installed.
    """
    method = get_method(tuned.candidate.method)
    setup = tuned.setup()
    config = method.peft_config(setup)
    adapter = _plain(config) if config is not None else {}
    modules = tuple(m.name for m in target_modules(setup)) if method.capabilities.takes_targets else ()
    scheme = get_quantization(tuned.candidate.quantization).config(tuned.candidate.dtype)
    return Facts(
        tool=tool,
        tuned=tuned,
        setup=setup,
        peft_type=str(adapter.get("peft_type", "")),
        adapter=adapter,
        changed=_changed(config, adapter),
        full=method.family == "full",
        modules=modules,
        targets=_shortest(modules, setup),
        quantization={} if scheme is None else scheme.to_dict(),
        warmup_steps=math.ceil(tuned.training.warmup_share * tuned.training.steps),
        chat=chat_form(tuned.data.source, tuned.data.columns["messages"]) if "messages" in tuned.data.columns else None,
    )


def _plain(config: Any) -> dict[str, Any]:
    return {key: _value(value) for key, value in sorted(config.to_dict().items())}


def _value(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    return getattr(value, "value", value)  # peft's enumerations


def _changed(config: Any, adapter: Mapping[str, Any]) -> dict[str, Any]:
    if config is None:
        return {}
    usual = _plain(type(config)())
    return {key: value for key, value in adapter.items() if value != usual.get(key)}


def _shortest(modules: tuple[str, ...], setup: Setup) -> tuple[str, ...]:
    """Returns last name parts where these select exactly the modules in the whole model, else the full names."""
    leaves = {name.rpartition(".")[2] for name in modules}
    selected = {m.name for m in setup.model.modules if m.name.rpartition(".")[2] in leaves}
    return tuple(sorted(leaves)) if selected == set(modules) else modules
