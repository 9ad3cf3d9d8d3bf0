"""Sequence to sequence: questions to answers with a T5 made from a config, which has learnt nothing before.

No encoder-decoder with weights ships in a package, so this shows the way a seq2seq task takes, not what adapting one is
worth. So short a training of so small a model answers no question, so perplexity decides and not the words.

python examples/seq2seq.py .cache/chatterbot/pairs.jsonl runs/seq2seq
"""

import sys
from pathlib import Path

import torch
import transformers

import autopeft
from autopeft.testing.models import tiny_tokenizer
from autopeft.values.candidates import Constraints


def build_model(folder: Path) -> None:
    """Writes a T5 of 0.4 M parameters over bytes, with random weights."""
    tokenizer = tiny_tokenizer()
    config = transformers.T5Config(
        vocab_size=len(tokenizer), d_model=96, d_kv=24, d_ff=192, num_layers=2, num_heads=4, pad_token_id=0,
        eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(source: str, output: str, trials: int = 6) -> None:
    """Searches three methods and prints how the winner compares."""
    model = Path(output) / "model"
    build_model(model)
    result = autopeft.search(
        str(model), source, output=Path(output) / "search", trials=trials, trial_tokens=20_000, folds=1,
        task="seq2seq", metric="perplexity", columns={"source": "prompt", "target": "completion"},
        constraints=Constraints(methods=("full", "lora", "houlsby_adapter")),
    )  # fmt: skip
    for name, contender in {"winner": result.winner, "default LoRA": result.default_lora}.items():
        if contender is None:  # it diverged, or did not fit
            continue
        score = contender.test
        print(
            f"{name}: {contender.config.method}, {score.metric} {score.value:.4f} ({score.low:.4f} to {score.high:.4f})"
        )


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit("usage: seq2seq.py PAIRS.JSONL OUTPUT [TRIALS]")
    main(*sys.argv[1:3], *map(int, sys.argv[3:]))
