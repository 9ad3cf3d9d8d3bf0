"""What the four sources of rated texts by Hutto & Gilbert (ICWSM 2014) share: one archive, one format."""

import csv
import io
import tarfile
from pathlib import Path

from autopeft.assets._declaration import Asset

_INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"

# A mean rating this close to zero on the scale from -4 to 4 says that the raters saw neither sign.
_NEUTRAL = 0.5


def ratings_asset(*, name: str, summary: str, ratings: str) -> Asset:
    """Returns the asset of one of the sources.

    Args:
        name: of the asset.
        summary: what its texts are.
        ratings: its file in the archive.
    """
    return Asset(
        name=name,
        kind="data",
        summary=f"{summary} rated by people, positive against negative (Hutto & Gilbert 2014)",
        requirement="vaderSentiment==3.3.2",
        form="sdist",
        sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        download_bytes=2_466_783,
        licence="MIT",
        result="reviews.csv",
        unpack=lambda artifact, folder: _write_signs(artifact, ratings, folder / "reviews.csv"),
    )


def _write_signs(artifact: Path, ratings: str, path: Path) -> None:
    """Writes the texts of one file of ratings as positive against negative, neutral ones left out."""
    rows = [row for line in _lines(artifact, ratings) if (row := _row(line)) is not None]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(rows)


def _row(line: str) -> tuple[str, str] | None:
    """Returns text and label of one line (id, mean rating, text), or None for a neutral one."""
    _, rating, text = line.split("\t", 2)
    if abs(float(rating)) <= _NEUTRAL:
        return None
    return text.strip(), "positive" if float(rating) > 0 else "negative"


def _lines(artifact: Path, ratings: str) -> list[str]:
    with tarfile.open(artifact) as outer:
        inner = outer.extractfile(next(m for m in outer.getmembers() if m.name.endswith(_INNER)))
        assert inner is not None  # a regular file: the artifact's hash is checked
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            # macOS leaves resource forks named "._…" beside the real files.
            member = next(m for m in archive.getmembers() if Path(m.name).name == ratings)
            stream = archive.extractfile(member)
            assert stream is not None
            return stream.read().decode("utf-8", errors="replace").splitlines()
