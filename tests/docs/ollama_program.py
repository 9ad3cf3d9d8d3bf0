"""Stands for the program `ollama` where a page calls it, which is no package: follows the Modelfile to its GGUF file.

Ollama itself is not run.
"""

import sys
from pathlib import Path


def main(words):
    """Takes what stands behind `ollama`: `create NAME -f MODELFILE`."""
    command, _name, option, modelfile = words
    assert (command, option) == ("create", "-f")
    origin = Path(modelfile).read_text().splitlines()[0]
    assert origin.startswith("FROM ./")
    assert (Path(modelfile).parent / origin.removeprefix("FROM ")).read_bytes()[:4] == b"GGUF"


if __name__ == "__main__":
    main(sys.argv[1:])
