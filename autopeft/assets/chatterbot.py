"""English question and answer pairs of the ChatterBot corpus, as prompt and completion."""

import json
import zipfile
from pathlib import Path

from autopeft.assets._declaration import Asset

_FOLDER = "chatterbot_corpus/data/english/"


def _unpack(artifact: Path, folder: Path) -> None:
    pairs = dict.fromkeys(pair for text in _documents(artifact) for pair in _pairs(text))
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as stream:
        for prompt, completion in pairs:
            stream.write(json.dumps({"prompt": prompt, "completion": completion}, ensure_ascii=False) + "\n")


def _documents(artifact: Path) -> list[str]:
    with zipfile.ZipFile(artifact) as wheel:
        names = sorted(n for n in wheel.namelist() if n.startswith(_FOLDER) and n.endswith(".yml"))
        return [wheel.read(name).decode("utf-8") for name in names]


def _pairs(text: str) -> list[tuple[str, str]]:
    """Returns first and second turn of each conversation; further turns answer another question."""
    import yaml

    conversations = yaml.safe_load(text)["conversations"]
    turns = [[str(turn).strip() for turn in talk] for talk in conversations if talk is not None and len(talk) > 1]
    return [(talk[0], talk[1]) for talk in turns if talk[0] and talk[1]]


ASSET = Asset(
    name="chatterbot",
    kind="data",
    summary="English question and answer pairs (ChatterBot corpus)",
    requirement="chatterbot-corpus==1.3.3",
    form="wheel",
    sha256="86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    download_bytes=345_706,
    licence="BSD-3-Clause",
    result="pairs.jsonl",
    unpack=_unpack,
)
