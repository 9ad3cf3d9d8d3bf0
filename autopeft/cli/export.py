"""`autopeft export`: a tuned config as another tool's file, a trained decoder as GGUF."""

from pathlib import Path
from typing import Annotated

import typer

from autopeft.cli.options import TrustRemoteCode
from autopeft.cli.output import Output, unbroken
from autopeft.errors import StudyError, invalid, unknown

_GGUF = "gguf"


def command(
    config: Annotated[
        Path, typer.Argument(help="The tuned config, such as autopeft-search/tuned.yaml; for gguf a training's output.")
    ],
    to: Annotated[
        str, typer.Option(help="peft, transformers, trl, axolotl, llamafactory, unsloth, torchtune, ludwig; or gguf.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="A new file; printed by default. For gguf a new folder, gguf/ in the training by default."),
    ] = None,
    llama_cpp: Annotated[
        Path | None, typer.Option(metavar="DIR", help="llama.cpp's folder. [$LLAMA_CPP, else the PATH]")
    ] = None,
    gguf_type: Annotated[
        str | None, typer.Option(help="Type of GGUF weights: f16 by default, f32, bf16, q8_0, auto.")
    ] = None,
    _code: TrustRemoteCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export: write the tuned config as the file another tool takes, and say what it cannot express.

    With --to gguf, a trained decoder is merged and converted by llama.cpp's own converter, with a Modelfile for Ollama.
    """
    show = Output(as_json=as_json)
    if to == _GGUF:
        _gguf(show, config, output or config / _GGUF, gguf_type or "f16", llama_cpp)
        return
    for option, given in (("--gguf-type", gguf_type), ("--llama-cpp", llama_cpp)):
        if given is not None:
            raise invalid(option, f"an export to {to}", f"left out but with --to {_GGUF}", str(given))
    _config(show, config, to, output)


def _gguf(show: Output, folder: Path, output: Path, kind: str, llama_cpp: Path | None) -> None:
    from rich.markup import escape

    from autopeft.finetune.gguf import write_gguf

    show.say("Converting …")
    made = write_gguf(folder, output, kind=kind, llama_cpp=llama_cpp)
    show.result(made, unbroken(f"{made.file}: {made.bytes / 2**20:,.1f} MiB"), unbroken(made.modelfile))
    if not show.as_json:
        if not made.template:
            show.say(
                "The model's chat template rewrites what was said, which no template of Ollama's does: Ollama takes "
                "the nearest that it knows, or the bare question. llama.cpp's own server reads the template itself."
            )
        show.say(escape(f"Run: ollama create NAME -f {made.modelfile}"))


def _config(show: Output, config: Path, to: str, output: Path | None) -> None:
    from autopeft.files import check_writable, write_text
    from autopeft.tuned import TunedConfig

    tuned = TunedConfig.load(config)

    from rich.markup import escape

    from autopeft.export import all_targets, export

    targets = all_targets()
    if to not in targets:
        raise unknown("--to", "autopeft export", to, [*targets, _GGUF])
    made, target = export(tuned, to), targets[to]
    files = {output: made.text} if output is not None else {}
    if output is not None:
        files |= {output.parent / name: text for name, text in made.companions.items()}
    for path in files:
        if path.exists():
            raise StudyError(f"{path} exists already. Name a file in another folder with --output.")
        check_writable(path)
    for path, text in files.items():
        write_text(path, text)
    document = {
        "target": to, "schema": target.schema, "run": target.run, "files": [str(path) for path in files],
        "unsupported": list(made.unsupported), **({} if files else {"text": made.text, "companions": made.companions}),
    }  # fmt: skip
    if not show.as_json and not files:
        typer.echo(made.text, nl=False)
    show.result(document, *(unbroken(str(path)) for path in files))
    if not show.as_json:
        for sentence in made.unsupported:
            show.say(f"[yellow]-[/] {escape(sentence)}")
        if made.companions and not files:
            show.say(f"It needs {', '.join(made.companions)} beside it: written with --output.")
        show.say(escape(f"Run: {target.run.replace('FILE', str(output or target.file))}"))
