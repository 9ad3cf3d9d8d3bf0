"""A Trainer on a tiny model and made-up rows whose label can be read off the first token."""

import pytest


@pytest.fixture
def build_trainer(tiny_models, tmp_path):
    import transformers

    rows = [
        {"input_ids": [1, 10 + index % 2 * 90, *range(20, 28)], "attention_mask": [1] * 10, "labels": index % 2}
        for index in range(64)
    ]

    def build(**arguments):
        arguments = {
            "max_steps": 8, "per_device_train_batch_size": 8, "save_strategy": "no", "report_to": "none",
            "disable_tqdm": True, "use_cpu": True, "learning_rate": 1e-3, **arguments,
        }  # fmt: skip
        model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_models["bert"], num_labels=2)
        return transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(tmp_path / "out", **arguments),
            train_dataset=rows,
            eval_dataset=rows[:16],
            compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
        )

    return build
