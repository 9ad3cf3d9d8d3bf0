"""Small data sets made in code, easy enough for a tiny model to learn something from."""

import csv
import json
import random

GOOD = ("good", "great", "lovely", "fine", "superb")
BAD = ("bad", "awful", "dull", "poor", "weak")
THINGS = ("film", "book", "song", "meal", "play", "trip", "game", "talk")


def sentences(rows: int, seed: int = 0) -> list[tuple[str, str]]:
    """Distinct sentences with a label that one word decides."""
    generator = random.Random(seed)
    made: dict[str, str] = {}
    while len(made) < rows:
        label = generator.choice(("pos", "neg"))
        word = generator.choice(GOOD if label == "pos" else BAD)
        number = generator.randrange(10_000)
        made[f"{generator.choice(THINGS)} {number} was {word}"] = label
    return list(made.items())


def classification_csv(path, rows=240, seed=0):
    """Writes a CSV with the columns text and label, sorted by label as many sources are."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        by_label = sorted(sentences(rows, seed), key=lambda pair: pair[1])
        writer.writerows(by_label)
    return path


def completion_jsonl(path, rows=120, seed=0):
    """Writes a JSONL with the columns prompt and completion."""
    with path.open("w", encoding="utf-8") as stream:
        for text, label in sentences(rows, seed):
            stream.write(json.dumps({"prompt": f"{text}?", "completion": "yes" if label == "pos" else "no"}) + "\n")
    return path
