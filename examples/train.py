"""Full training from a tuned config: what `autopeft search` ends in, handed to transformers' Trainer.

python examples/train.py runs/demo/tuned.yaml .cache/vader-movies/reviews.csv trained/
"""

import sys
from pathlib import Path

import transformers

from autopeft import TunedConfig
from autopeft.methods import get_method


def main(config: str, source: str, output: str, max_steps: int = -1) -> None:
    """Trains the tuned configuration on a data source and saves what was trained."""
    tuned = TunedConfig.load(config)
    model, _tokenizer = tuned.load_model()
    data = tuned.prepare(source)
    trainer = transformers.Trainer(
        model=model,
        args=tuned.training_arguments(output, max_steps=max_steps, eval_strategy="epoch", save_strategy="no"),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        callbacks=tuned.callbacks(),
        optimizers=tuned.optimizers(model),
    )
    trainer.train()
    print(trainer.evaluate(data["test"], metric_key_prefix="test"))
    Path(output).mkdir(parents=True, exist_ok=True)
    get_method(tuned.candidate.method).save(model, Path(output))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        raise SystemExit("usage: train.py TUNED.YAML DATA OUTPUT [MAX_STEPS]")
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
