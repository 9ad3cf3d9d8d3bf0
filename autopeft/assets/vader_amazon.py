"""Snippets of product reviews with human ratings (Hutto & Gilbert, ICWSM 2014), as positive against negative."""

from pathlib import Path

from autopeft.assets import _ratings
from autopeft.assets._declaration import Asset


def _unpack(artifact: Path, folder: Path) -> None:
    _ratings.write_signs(artifact, "amazonReviewSnippets_GroundTruth.txt", folder / "reviews.csv")


ASSET = Asset(
    name="vader-amazon",
    kind="data",
    summary="product-review snippets rated by people, positive against negative (Hutto & Gilbert 2014)",
    requirement=_ratings.REQUIREMENT,
    sdist=True,
    sha256=_ratings.SHA256,
    download_bytes=_ratings.DOWNLOAD_BYTES,
    licence="MIT",
    result="reviews.csv",
    unpack=_unpack,
)
