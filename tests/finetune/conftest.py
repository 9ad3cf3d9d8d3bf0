"""A tuned config on a tiny model, and one training of it that all tests look at."""

from dataclasses import replace

import pytest

from autopeft.data import load_data
from autopeft.estimation import draft
from autopeft.finetune import train
from autopeft.profiling.model import read_model
from autopeft.training.forgetting import general_texts
from autopeft.tuned import SCHEMA_VERSION, FullTraining, ModelReference, Provenance, TunedConfig
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Score
from tests.toys import classification_csv, completion_jsonl

SCORE = Score(metric="accuracy", value=0.5, low=0.4, high=0.6, level=0.95, rows=24)
LORA = Candidate(
    method="lora", parameters={"rank": 4, "alpha": 8, "dropout": 0.1}, targets="all-linear", learning_rate=1e-2,
    batch_size=8,
)  # fmt: skip

TOKEN = "hf_" + "abcdefghijklmnop" * 2


def tuned_for(model, data, task, candidate=LORA, **training):
    """Returns a tuned config for a model folder and a data file."""
    spec = load_data(str(data), task=task, token_limit=24).spec
    profile = read_model(str(model), task, max(1, len(spec.labels)))
    plan = FullTraining(
        epochs=2.0, steps=48, warmup_share=0.06, weight_decay=0.0, max_gradient_norm=1.0, seed=3, head_seed=5
    )
    return TunedConfig(
        schema_version=SCHEMA_VERSION,
        model=ModelReference(source=profile.source, fingerprint=profile.fingerprint, task=task, labels=profile.labels),
        candidate=candidate,
        data=spec,
        training=replace(plan, **training),
        provenance=Provenance(
            autopeft_version="0",
            validation=SCORE,
            test=SCORE,
            trials={"completed": 3},
            reasons=("a good default (Hu et al.)",),
        ),
    )


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")


@pytest.fixture(scope="session")
def tuned(tiny_models, source):
    return tuned_for(tiny_models["bert"], source, "classification")


@pytest.fixture(scope="session")
def finished(tuned, source, tmp_path_factory):
    """The outcome of one training with a merged model and other data beside it; nobody writes to its folder."""
    folder = tmp_path_factory.mktemp("trained")
    other = classification_csv(folder / "other.csv", rows=120, seed=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", TOKEN)
        return train(tuned, source, folder / "out", merge=True, also=[str(other)])


@pytest.fixture(autouse=True)
def quick_measurements(monkeypatch, finished, writer):
    """Lets a test's own trainings estimate by formula and read a few texts: those all tests look at did it in full."""
    monkeypatch.setattr("autopeft.finetune.side_effects.estimate", draft)
    monkeypatch.setattr("autopeft.finetune.side_effects.general_texts", lambda: general_texts()[:8])


@pytest.fixture(scope="session")
def writer(tiny_models, tmp_path_factory):
    """The outcome of a moment's training of a decoder on prompts and completions; nobody writes to its folder."""
    folder = tmp_path_factory.mktemp("writer")
    pairs = completion_jsonl(folder / "pairs.jsonl", rows=60)
    config = tuned_for(tiny_models["llama"], pairs, "generation", LORA, epochs=0.2)
    return train(config, pairs, folder / "out")
