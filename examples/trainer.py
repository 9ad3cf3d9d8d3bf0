"""A Trainer that is there already: the two lines that choose its method and settings are at the end of `main`.

python examples/trainer.py .cache/minilm .cache/vader-movies/reviews.csv tuned.yaml
"""

import sys

import datasets
import transformers

import autopeft


def build_trainer(model: str, source: str) -> transformers.Trainer:
    """Returns a Trainer as anybody has one: a base model, tokenised rows, a metric."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    rows = datasets.Dataset.from_csv(source).class_encode_column("label").shuffle(seed=0).select(range(1000))
    rows = rows.map(lambda row: tokenizer(row["text"], truncation=True, max_length=32))
    labels = rows.features["label"].names
    parts = rows.remove_columns("text").train_test_split(200, seed=0)
    return transformers.Trainer(
        model=transformers.AutoModelForSequenceClassification.from_pretrained(model, id2label=dict(enumerate(labels))),
        args=transformers.TrainingArguments(
            "out",
            num_train_epochs=1,
            metric_for_best_model="accuracy",
            per_device_eval_batch_size=32,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=parts["train"],
        eval_dataset=parts["test"],
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )


def main(model: str, source: str, output: str, n_trials: int = 8) -> None:
    """Searches with the trainer, and writes the winner's config."""
    trainer = build_trainer(model, source)
    best = autopeft.hyperparameter_search(trainer, n_trials=n_trials)
    best.tuned.save(output)
    print(f"{best.metric} {best.value:.4f} with {best.tuned.candidate.method}: {output}")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        raise SystemExit("usage: trainer.py MODEL DATA TUNED.YAML [TRIALS]")
    main(*sys.argv[1:4], *map(int, sys.argv[4:]))
