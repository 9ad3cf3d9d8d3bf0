"""The reference pages, made from commands, dataclasses and methods when the site is built: they cannot drift."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_type_hints

sys.path.insert(0, str(Path(__file__).parent.parent))

FILES: dict[str, tuple[str, ...]] = {
    "tuned.yaml": (
        "tuned.TunedConfig", "tuned.ModelReference", "values.candidates.Candidate", "values.data.DataSpec",
        "tuned.FullTraining", "tuned.Provenance", "values.outcomes.Score",
    ),
    "result.json": ("values.outcomes.SearchResult", "values.outcomes.Contender", "values.outcomes.Difference"),
    "search_spaces/*.yaml": ("tuning.space.SearchSpace", "tuning.space.Range"),
    "metrics.json": ("finetune.outcomes.Trained", "finetune.outcomes.Evaluation"),
}  # fmt: skip
"""The dataclasses behind each file, by their places in the package."""

Row = Sequence[str]


def on_files(files: Any, config: Any) -> Any:
    """Adds the generated pages to those on disk: mkdocs calls it when it has read the folder."""
    from mkdocs.structure.files import File

    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    return files


def commands() -> str:
    """Returns every command with its arguments, options and help."""
    from typer.main import get_command

    from autopeft.cli.main import app, main

    parts = [_head("Commands", "the commands' own help"), inspect.getdoc(main) or ""]
    parts += [_command(path, command) for path, command in _leaves(get_command(app), "autopeft")]
    return "\n\n".join(parts) + "\n"


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, part in command.commands.items():
        yield from _leaves(part, f"{path} {name}")


def _command(path: str, command: Any) -> str:
    rows: list[Row] = []
    for one in command.params:
        option = one.param_type_name == "option"
        name = ", ".join((*one.opts, *one.secondary_opts)) if option else (one.metavar or one.name.upper())
        rows.append((f"`{name}`", "required" if one.required else _default(one), one.help or ""))
    return f"## {path}\n\n{inspect.cleandoc(command.help or '')}\n\n{_table(('option', 'default', 'meaning'), rows)}"


def _default(option: Any) -> str:
    value = option.default
    return "" if value is None or callable(value) or value == () or value is False else f"`{value}`"


def python() -> str:
    """Returns what `import autopeft` offers, with signatures and docstrings."""
    import autopeft

    parts = [_head("Python", "the docstrings")]
    for name in (name for name in autopeft.__all__ if name != "__version__"):
        offered = getattr(autopeft, name)
        parts.append(f"## autopeft.{name}\n\n{_callable(name, offered)}")
        if inspect.isclass(offered):
            parts += [f"### {name}.{key}\n\n{_callable(key, method)}" for key, method in _methods(offered)]
    return "\n\n".join(parts) + "\n"


def _methods(offered: type) -> Iterator[tuple[str, Any]]:
    for key, value in vars(offered).items():
        method = value.__func__ if isinstance(value, staticmethod) else value
        if inspect.isfunction(method) and not key.startswith(("_", "on_")):
            yield key, method


def _callable(name: str, offered: Any) -> str:
    shown = [
        inspect.Parameter(p.name, p.kind, default=p.default)
        for p in inspect.signature(offered).parameters.values()
        if p.name != "self"
    ]
    signature = inspect.Signature(shown)
    text = f"{name}{signature}"
    if len(text) > 100:  # one parameter a line, as the code has it
        lines = "".join(f"    {parameter},\n" for parameter in _starred(shown))
        text = f"{name}(\n{lines})"
    return f"```text\n{text}\n```\n\n{docstring(offered)}"


def _starred(parameters: Sequence[inspect.Parameter]) -> list[str]:
    words = [str(parameter) for parameter in parameters]
    first = next((i for i, p in enumerate(parameters) if p.kind is inspect.Parameter.KEYWORD_ONLY), None)
    return words if first is None else [*words[:first], "*", *words[first:]]


def docstring(offered: Any) -> str:
    """Returns a Google-style docstring as Markdown: its sections as lists, its examples as code."""
    parts = re.split(r"^(Args|Raises|Attributes|Example):\n", inspect.getdoc(offered) or "", flags=re.MULTILINE)
    text = [_plain(parts[0]).strip()]
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        body = inspect.cleandoc(body)
        if title == "Example":
            code = re.sub(r"\s*# doctest:.*", "", re.sub(r"^(>>>|\.\.\.) ?", "", body, flags=re.MULTILINE))
            text.append(f"```python\n{code}\n```")
        else:
            items = re.split(r"\n(?=\S)", body)
            text.append(f"**{title}**\n\n" + "\n".join(_item(item) for item in items))
    return "\n\n".join(text)


def _item(item: str) -> str:
    name, _, meaning = " ".join(item.split()).partition(": ")
    return f"- `{name}`: {_plain(meaning)}"


def _plain(text: str) -> str:
    return text.replace("``", "`")


def described_files() -> str:
    """Returns the keys of the files that autopeft writes and reads."""
    from autopeft.discovery import __name__ as package

    root = package.split(".")[0]
    parts = [_head("Files", "the dataclasses that the files are parsed into"), "An unknown key is an error."]
    for file, kinds in FILES.items():
        parts.append(f"## {file}")
        for place in kinds:
            module, _, name = place.rpartition(".")
            parts.append(_dataclass(getattr(__import__(f"{root}.{module}", fromlist=[name]), name)))
    return "\n\n".join(parts) + "\n"


def _dataclass(kind: Any) -> str:
    documented = re.split(r"^(?:Attributes|Example):\n", inspect.getdoc(kind) or "", flags=re.MULTILINE)
    meanings = {}
    if "Attributes:" in (inspect.getdoc(kind) or ""):
        for item in re.split(r"\n(?=\S)", inspect.cleandoc(documented[1])):
            name, _, meaning = " ".join(item.split()).partition(": ")
            meanings[name] = _plain(meaning)
    hints = get_type_hints(kind)
    rows = [
        (f"`{f.name}`", f"`{_type(hints[f.name])}`", _key_default(f), meanings.get(f.name, "")) for f in fields(kind)
    ]
    table = _table(("key", "type", "default", "meaning"), rows)
    return f"### {kind.__name__}\n\n{_plain(documented[0]).strip()}\n\n{table}"


def _type(hint: Any) -> str:
    name = hint.__name__ if isinstance(hint, type) and not getattr(hint, "__args__", ()) else str(hint)
    return re.sub(r"(?:autopeft\.[\w.]*|typing|collections\.abc)\.", "", name).replace("NoneType", "None")


def _key_default(one: "Field[Any]") -> str:
    if one.default is MISSING and one.default_factory is MISSING:
        return "required"
    return "empty" if one.default is MISSING else f"`{one.default!r}`"


def ranges() -> str:
    """Returns each method's parameters with their legal and searched ranges, and what is tried first."""
    from autopeft.cli.methods import entry
    from autopeft.methods import all_methods

    parts = [_head("Ranges and starts", "the methods' declarations and `search_spaces/`")]
    for name in all_methods():
        value = entry(name)
        rows = [(f"`{key}`", told["legal"], told["searched"]) for key, told in value["parameters"].items()]
        besides = [(f"`{key}`", "", " | ".join(map(str, choices))) for key, choices in value["searched"].items()]
        starts = [f"- {_start(seed)}" for seed in value["seeds"]]
        parts.append(
            f"## {name}\n\n{value['summary']}\n\n{_table(('parameter', 'legal', 'searched'), [*rows, *besides])}\n"
            "Tried first:\n\n" + "\n".join(starts)
        )
    return "\n\n".join(parts) + "\n"


def _start(seed: Any) -> str:
    settings = "".join(f"{key} {value}, " for key, value in seed.parameters.items())
    return f"{settings}targets {seed.targets}, rate {seed.learning_rate:g} ({seed.source})"


def _head(title: str, source: str) -> str:
    return f"# {title}\n\nWritten from {source} when this site was built."


def _table(titles: Row, rows: Sequence[Row]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    cells = [[" ".join(cell.split()).replace("|", "\\|").replace("<", "&lt;") for cell in line] for line in lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in cells)


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/python.md": python,
    "reference/files.md": described_files,
    "reference/ranges.md": ranges,
}
