"""Forgetting is measured on the model that a worker yields, against the same base before."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from autopeft.data import encode, load_data
from autopeft.errors import DataError
from autopeft.profiling.hardware import probe_hardware
from autopeft.profiling.model import read_model
from autopeft.profiling.tokenizer import load_tokenizer
from autopeft.training.forgetting import general_texts, probe
from autopeft.training.worker import Worker
from autopeft.values.candidates import Candidate
from autopeft.values.plans import Plan
from tests.toys import classification_csv, completion_jsonl

TEXTS = general_texts()[:20]
LORA = Candidate(method="lora", parameters={"rank": 4, "alpha": 8, "dropout": 0.0}, learning_rate=3e-2, batch_size=8)
PROMPT = Candidate(method="prompt_tuning", parameters={"virtual_tokens": 5, "init": "random"}, targets="none",
                   learning_rate=1e-2, batch_size=8)  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    pairs = completion_jsonl(folder / "pairs.jsonl")
    return {"classification": classification_csv(folder / "toy.csv"), "generation": pairs, "seq2seq": pairs}


def worker_and_data(folder, source, task):
    columns = {"source": "prompt", "target": "completion"} if task == "seq2seq" else None
    data = load_data(str(source), task=task, columns=columns)
    profile = read_model(str(folder), task, max(1, len(data.spec.labels)))
    return Worker(profile, probe_hardware(), head_seed=0), encode(data, load_tokenizer(str(folder)), profile.kind)


CASES = [
    ("bert", "classification", "masked_lm_loss"),
    ("llama", "classification", "perplexity"),
    ("gpt2", "generation", "perplexity"),
    ("t5", "seq2seq", "perplexity"),
    ("t5", "classification", "representation_drift"),
]


@pytest.mark.parametrize(("architecture", "task", "measure"), CASES)
def test_training_on_a_task_is_seen_on_general_text(tiny_models, sources, architecture, task, measure):
    """Attached untrained, nothing is forgotten; trained hard, the measure moves; detached, it is as before."""
    worker, data = worker_and_data(tiny_models[architecture], sources[task], task)
    found = probe(worker.base(LORA), worker.profile, TEXTS, dtype="float32", device="cpu")
    assert found.measure == measure
    assert found.rows == len(TEXTS)
    with worker.attached(LORA, Plan(tokens=1500), data["train"]) as run:
        assert found.after(run.model).change == pytest.approx(0.0, abs=1e-4)
        run.advance(1.0)
        trained = found.after(run.model)
    assert trained.change == trained.after - trained.before
    assert abs(trained.change) > 1e-3
    assert found.read(worker.base(LORA).model) == pytest.approx(found.before, abs=1e-6)


def test_a_classifier_is_asked_through_the_head_of_its_checkpoint(tiny_models, sources):
    """Perplexity and masked-LM loss of a classifier's base are those of the checkpoint's own language model."""
    worker, _ = worker_and_data(tiny_models["llama"], sources["classification"], "classification")
    found = probe(worker.base(LORA), worker.profile, TEXTS, dtype="float32", device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["llama"])
    model = AutoModelForCausalLM.from_pretrained(tiny_models["llama"], dtype="float32").eval()
    total, tokens = 0.0, 0
    for text in TEXTS:
        ids = tokenizer(text, truncation=True, max_length=64, return_tensors="pt").input_ids
        with torch.no_grad():
            total += float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
        tokens += ids.shape[1] - 1
    assert found.tokens == tokens
    assert found.before == pytest.approx(math.exp(total / tokens), rel=1e-4)


def test_masks_are_the_same_before_and_after(tiny_models, sources):
    """The masked-LM loss is that of the checkpoint's own head on 15 % masked tokens, chosen alike each time."""
    worker, _ = worker_and_data(tiny_models["bert"], sources["classification"], "classification")
    base = worker.base(LORA)
    first, second = (probe(base, worker.profile, TEXTS, dtype="float32", device="cpu") for _ in range(2))
    assert first.before == second.before
    assert first.tokens == pytest.approx(0.15 * 62 * len(TEXTS), rel=0.1)
    # Random weights know nothing: the loss is about that of a uniform guess over the vocabulary.
    vocabulary = AutoModelForMaskedLM.from_pretrained(tiny_models["bert"]).config.vocab_size
    assert first.before == pytest.approx(math.log(vocabulary), rel=0.1)


def test_an_encoder_without_its_head_is_read_by_drift(tmp_path, sources, tiny_models):
    """A checkpoint of the backbone alone, as sentence encoders are, says that representations were compared."""
    from transformers import AutoModel

    folder = tmp_path / "headless"
    AutoModel.from_pretrained(tiny_models["bert"]).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_models["bert"]).save_pretrained(folder)
    worker, data = worker_and_data(folder, sources["classification"], "classification")
    found = probe(worker.base(PROMPT), worker.profile, TEXTS, dtype="float32", device="cpu")
    assert (found.measure, found.before) == ("representation_drift", 0.0)
    with worker.attached(PROMPT, Plan(tokens=200), data["train"]) as run:
        assert 0.0 < found.after(run.model).change <= 2.0, "what stands in front of a row has its effect too"


def test_general_text_is_there_and_may_be_the_users_own(tmp_path):
    """A hundred distinct sentences come with the package; the user's file is read by line, an empty one refused."""
    assert len(set(general_texts())) == len(general_texts()) >= 100
    own = tmp_path / "own.txt"
    own.write_text("Ein Satz.\n\n  Noch einer.\n", encoding="utf-8")
    assert general_texts(own) == ("Ein Satz.", "Noch einer.")
    own.write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        general_texts(own)
    with pytest.raises(DataError, match="cannot be read"):
        general_texts(tmp_path / "none.txt")
