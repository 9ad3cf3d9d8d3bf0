"""Times one estimate of each method for a model, after the imports and with nothing cached.

    python benchmarks/estimate_time.py llama-7b --gpu a100-80gb --count 40

The model is a folder with a ``config.json``, such as the README's. A method that refuses the model is not counted.
"""

import argparse
import os
import tempfile
import time

from autopeft import estimate
from autopeft.errors import AutopeftError
from autopeft.methods import all_methods


def main() -> None:
    """Reads the command line, estimates, and prints the seconds of the slowest and of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--gpu", required=True)
    parser.add_argument("--count", type=int, default=40, help="methods, in the order of the catalogue")
    given = parser.parse_args()
    # The first brings in torch, transformers and peft.
    estimate(model=given.model, method="lora", gpu=given.gpu, batch_size=1, sequence_length=64)
    seconds: dict[str, float] = {}
    for name in all_methods():
        began = time.monotonic()
        try:
            estimate(model=given.model, method=name, gpu=given.gpu, batch_size=1, sequence_length=1024)
        except AutopeftError as error:
            print(f"{name}: {str(error).splitlines()[0]}")
            continue
        seconds[name] = time.monotonic() - began
        if len(seconds) == given.count:
            break
    for name in sorted(seconds, key=lambda name: -seconds[name])[:10]:
        print(f"{name:20} {seconds[name]:6.2f} s")
    print(f"{len(seconds)} estimates: {sum(seconds.values()):.1f} s")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        os.environ["AUTOPEFT_CACHE"] = empty
        main()
