"""What an adapter's files say to others: no place of this machine, only the names of what lies there."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from autopeft.data import hub_parts
from autopeft.files import plain, read_json, to_json, to_yaml
from autopeft.finetune.folder import TrainedFolder
from autopeft.tuned import TunedConfig

_NAMES = ("base_model_name_or_path", "name_or_path", "_name_or_path")
"""Keys under which peft and transformers note what a model or a tokenizer was loaded from."""


def shared_name(source: str) -> str:
    """Returns a source as others may see it: a path of this machine by its last part, a name on the hub as it is.

    What lies here no longer, or is looked for from another folder, is a path all the same if it is written as one.
    """
    path = Path(source).expanduser()
    local = path.exists() or path.suffix == ".gguf" or hub_parts(source) is None
    return path.absolute().name if local else source


def whole_place(source: str) -> str:
    """Returns a source as every folder of this machine finds it: a path from the root, a name on the hub as it is."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


def public_bytes(path: Path) -> bytes:
    """Returns a file's content to upload, each path of this machine in it cut to ``./`` and its last part.

    That is a path still, and never taken for a name on the hub: whoever gets the file is told that the folder is
    missing, and puts the model there, which the fingerprint in ``tuned.yaml`` confirms.
    """
    rewrite = _REWRITTEN.get(path.name)
    return path.read_bytes() if rewrite is None else rewrite(path).encode()


def _place(source: str) -> str:
    name = shared_name(source)
    return source if name == source else f"./{name}"


def _tuned(path: Path) -> str:
    tuned = TunedConfig.load(path)
    model = replace(tuned.model, source=_place(tuned.model.source))
    return to_yaml(plain(replace(tuned, model=model, data=replace(tuned.data, source=_place(tuned.data.source)))))


def _metrics(path: Path) -> str:
    if not (path.parent / "tuned.yaml").exists():  # some other tool's
        return path.read_text(encoding="utf-8")
    trained = TrainedFolder(path.parent).finished()
    also = tuple(replace(second, source=_place(second.source)) for second in trained.also)
    # It is a folder, however much its name reads like one on the hub.
    output = f"./{Path(trained.output).absolute().name}"
    return to_json(plain(replace(trained, output=output, also=also)))


def _foreign(path: Path) -> str:
    content = read_json(path)
    held = {key: content[key] for key in _NAMES if isinstance(content, dict) and isinstance(content.get(key), str)}
    cut = {key: _place(source) for key, source in held.items()}
    return path.read_text(encoding="utf-8") if cut == held else to_json({**content, **cut})


_REWRITTEN: Mapping[str, Callable[[Path], str]] = {
    "tuned.yaml": _tuned,
    "metrics.json": _metrics,
    "adapter_config.json": _foreign,
    "start_config.json": _foreign,
    "tokenizer_config.json": _foreign,
}
