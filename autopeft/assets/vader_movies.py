"""Movie-review snippets with human ratings (Hutto & Gilbert, ICWSM 2014), as positive against negative."""

import csv
import io
import tarfile
from pathlib import Path

from autopeft.assets._declaration import Asset

_INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
_RATINGS = "movieReviewSnippets_GroundTruth.txt"

# A mean rating this close to zero on the scale from -4 to 4 says that the raters saw neither sign.
_NEUTRAL = 0.5


def _unpack(artifact: Path, folder: Path) -> None:
    rows = [row for line in _ratings(artifact).splitlines() if (row := _row(line)) is not None]
    with (folder / "reviews.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(rows)


def _row(line: str) -> tuple[str, str] | None:
    """Returns text and label of one line (id, mean rating, text), or None for a neutral one."""
    _, rating, text = line.split("\t", 2)
    if abs(float(rating)) <= _NEUTRAL:
        return None
    return text.strip(), "positive" if float(rating) > 0 else "negative"


def _ratings(artifact: Path) -> str:
    with tarfile.open(artifact) as outer:
        inner = outer.extractfile(next(m for m in outer.getmembers() if m.name.endswith(_INNER)))
        assert inner is not None  # a regular file: the artifact's hash is checked
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            # macOS leaves resource forks named "._…" beside the real files.
            member = next(m for m in archive.getmembers() if Path(m.name).name == _RATINGS)
            stream = archive.extractfile(member)
            assert stream is not None
            return stream.read().decode("utf-8", errors="replace")


ASSET = Asset(
    name="vader-movies",
    kind="data",
    summary="movie-review snippets rated by people, positive against negative (Hutto & Gilbert 2014)",
    requirement="vaderSentiment==3.3.2",
    sdist=True,
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    download_bytes=2_466_783,
    licence="MIT",
    result="reviews.csv",
    unpack=_unpack,
)
