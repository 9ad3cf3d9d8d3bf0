"""`autopeft suggest`: its document, its limits, its speed, and how it fails."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from autopeft.cli.main import app
from autopeft.cli.suggest_view import view
from autopeft.errors import InvalidValueError, NothingFitsError
from autopeft.recommend.objectives import parse_objectives, preferred
from autopeft.recommend.suggest import collect_profiles, recommend_for, suggest
from autopeft.values.candidates import Constraints

runner = CliRunner()

GIB = 1024**3
DESCRIBED = ("--task", "classification", "--rows", "5000", "--tokens-per-row", "64")
CANDIDATE_KEYS = {
    "estimate_notes",
    "method", "parameters", "targets", "layers", "quantization", "dtype", "optimizer", "schedule", "learning_rate",
    "batch_size", "accumulation", "gradient_checkpointing", "trainable_parameters", "peak_memory_bytes", "fits",
    "step_seconds", "score", "reasons", "rank", "predicted",
    "on_front", "served", "probe",
}  # fmt: skip

LLAMA_3B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 3072, "intermediate_size": 8192,
    "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128,
    "vocab_size": 128256, "tie_word_embeddings": True, "max_position_embeddings": 131072,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "profiles"))


@pytest.fixture(scope="module")
def three_billion(tmp_path_factory):
    """A folder with nothing but the config of a model of 3.2 billion parameters."""
    folder = tmp_path_factory.mktemp("llama-3b")
    (folder / "config.json").write_text(json.dumps(LLAMA_3B))
    return str(folder)


def _json(*arguments):
    result = runner.invoke(app, ["suggest", *arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_the_document_has_every_key(tiny_models):
    """A program finds candidates with all that decides a run, what they cost, and why."""
    found = _json("--model", str(tiny_models["bert"]), *DESCRIBED)
    assert set(found) == {"hardware", "model", "task", "candidates", "rejected", "notes"}
    assert len(found["candidates"]) > 10
    for candidate in found["candidates"]:
        assert set(candidate) == CANDIDATE_KEYS
        assert candidate["reasons"]
        for reason in candidate["reasons"]:
            assert {"rule", "verdict", "because", "source"} <= set(reason)
    for rejection in found["rejected"]:
        assert set(rejection) == {"method", "because", "lacking_bytes", "remedy"}


def test_each_candidate_is_predicted_with_what_that_rests_on(tiny_models):
    """Rank, gain with its 80 % interval, the nearest measured runs with their source, and whether it extrapolates."""
    candidates = _json("--model", str(tiny_models["bert"]), *DESCRIBED)["candidates"]
    assert [c["rank"] for c in candidates] == list(range(1, len(candidates) + 1))
    for predicted in (c["predicted"] for c in candidates):
        assert predicted["low"] < predicted["points"] < predicted["high"]
        assert (predicted["level"], predicted["unit"]) == (0.8, "points")
        assert all(run["source"] and run["method"] for run in predicted["nearest"])
    # No run was ever measured on a model of some ten thousand parameters.
    assert any("in model size" in sentence for sentence in candidates[0]["predicted"]["extrapolates"])


def test_a_corrupted_store_is_said_and_does_not_stop_advice(tiny_models, tmp_path, monkeypatch):
    """Lines of one's own evidence that cannot be read are set aside, said, and not lost."""
    monkeypatch.setenv("AUTOPEFT_DATA", str(tmp_path))
    (tmp_path / "evidence.jsonl").write_text("not a run\n")
    found = _json("--model", str(tiny_models["bert"]), *DESCRIBED, "--methods", "lora")
    assert any("could not be read" in note and "set-aside" in note for note in found["notes"])
    assert (tmp_path / "evidence-set-aside.jsonl").read_text() == "not a run\n"


def test_advice_can_be_had_without_ones_own_evidence(tiny_models, tmp_path, monkeypatch):
    """Then the store is neither read nor touched."""
    monkeypatch.setenv("AUTOPEFT_DATA", str(tmp_path))
    (tmp_path / "evidence.jsonl").write_text("not a run\n")
    found = _json("--model", str(tiny_models["bert"]), *DESCRIBED, "--methods", "lora", "--no-evidence")
    assert not any("could not be read" in note for note in found["notes"])
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.jsonl"]


def test_the_first_candidates_are_different_methods(tiny_models):
    """A user who reads three lines sees three methods."""
    names = [c["method"] for c in _json("--model", str(tiny_models["bert"]), *DESCRIBED)["candidates"]]
    assert len(set(names[:5])) == 5


def test_a_card_need_not_be_owned(three_billion):
    """A card from the catalogue is planned for: its dtype, its memory, its speed, and a model without weights."""
    found = _json("--model", three_billion, *DESCRIBED, "--gpu", "rtx-3090")
    assert found["hardware"]["source"] == "catalogue"
    assert found["model"]["parameters"] > 3 * 10**9
    for candidate in found["candidates"]:
        assert candidate["dtype"] == "bfloat16"
        assert candidate["step_seconds"] > 0
        if candidate["fits"]:
            assert candidate["peak_memory_bytes"] <= 24 * GIB


def test_limits_are_kept(three_billion):
    """Memory, trained parameters and latency limits hold for every candidate that is said to fit."""
    limits = ("--memory", "8GiB", "--max-trainable", "0.5%", "--no-inference-latency")
    found = _json("--model", three_billion, *DESCRIBED, "--gpu", "rtx-3090", *limits)
    assert found["candidates"]
    for candidate in found["candidates"]:
        assert candidate["trainable_parameters"] <= 0.005 * found["model"]["parameters"]
        assert candidate["peak_memory_bytes"] <= 8 * GIB or not candidate["fits"]
    latency = {r["method"] for r in found["rejected"] if "latency" in " ".join(r["because"])}
    assert {"houlsby_adapter", "prompt_tuning"} <= latency


def test_methods_can_be_named_and_left_out(tiny_models):
    """`--methods` allows and `--exclude` forbids."""
    limits = ("--methods", "lora,ia3", "--exclude", "ia3", "--top", "1")
    found = _json("--model", str(tiny_models["bert"]), *DESCRIBED, *limits)
    assert [c["method"] for c in found["candidates"]] == ["lora"]


def test_the_library_answers_as_the_command_does(tiny_models):
    """`autopeft.suggest` returns what the command prints, in the same order."""
    printed = _json("--model", str(tiny_models["llama"]), *DESCRIBED, "--methods", "lora,rslora,ia3")
    found = suggest(
        str(tiny_models["llama"]), task="classification", rows=5000, tokens_per_row=64,
        constraints=Constraints(methods=("lora", "rslora", "ia3")),
    )  # fmt: skip
    assert [s.candidate.method for s in found.candidates] == [c["method"] for c in printed["candidates"]]
    assert [s.estimate.memory.total_bytes for s in found.candidates] == [
        c["peak_memory_bytes"] for c in printed["candidates"]
    ]


def test_memory_means_the_same_in_python_and_on_the_command_line(three_billion):
    """All of the memory that a user names may be used, in both."""
    printed = _json("--model", three_billion, *DESCRIBED, "--memory", "6GiB", "--methods", "lora")
    found = suggest(
        three_billion, task="classification", rows=5000, tokens_per_row=64, memory_bytes=6 * GIB,
        constraints=Constraints(methods=("lora",)),
    )  # fmt: skip
    assert [s.estimate.memory.total_bytes for s in found.candidates] == [
        c["peak_memory_bytes"] for c in printed["candidates"]
    ]


def test_data_say_what_would_otherwise_be_described(tiny_models, tmp_path):
    """With data the task, the rows and the lengths are read off it, in named columns."""
    rows = [f"{'lovely' if i % 2 else 'dreadful'} film number {i} with words of its own,{i % 2}" for i in range(200)]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["review,verdict", *rows]))
    columns = ("--column", "text=review", "--column", "label=verdict")
    found = _json("--model", str(tiny_models["bert"]), "--data", str(path), *columns)
    assert found["task"]["task"] == "classification"
    assert found["task"]["columns"] == {"text": "review", "label": "verdict"}
    assert sum(found["task"]["rows"].values()) <= 200
    assert found["candidates"][0]["fits"]


def test_nothing_fits_says_what_each_method_lacks(three_billion):
    """Every method is named with what it lacks in GiB and what would make it fit; the exit code is 3."""
    with pytest.raises(NothingFitsError, match=r"(?s)lora: lacks .* GiB.*full: lacks .* GiB.*a card with") as error:
        runner.invoke(
            app, ["suggest", "--model", three_billion, *DESCRIBED, "--memory", "1GiB"], catch_exceptions=False
        )
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "`--task` of a suggestion without data must be one of"),
        (("--task", "clasification"), "Did you mean 'classification'"),
        ((*DESCRIBED, "--methods", "lara"), "Did you mean 'lora'"),
        ((*DESCRIBED, "--gpu", "rtx-3900"), "Did you mean 'rtx-"),
        ((*DESCRIBED, "--memory", "lots"), "24GiB"),
        ((*DESCRIBED, "--max-trainable", "some"), "5M or a share such as 1%"),
        ((*DESCRIBED, "--objective", "qualty"), "Did you mean 'quality'"),
        ((*DESCRIBED, "--serve", "vlm"), "Did you mean 'vllm'"),
        ((*DESCRIBED, "--probe", "2m"), "`--probe` of a suggestion must be given with data"),
        ((*DESCRIBED, "--data", "rows.csv"), "`--rows` of a suggestion must be left out"),
    ],
)
def test_bad_input_gets_one_clear_error(tiny_models, arguments, message):
    """Each mistake is named with what was expected instead."""
    with pytest.raises(InvalidValueError, match=message):
        runner.invoke(app, ["suggest", "--model", str(tiny_models["bert"]), *arguments], catch_exceptions=False)


def test_people_see_a_table_and_sources(tiny_models, monkeypatch):
    """In 80 columns names are whole, and the first candidate's reasons carry their sources."""
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ("--model", str(tiny_models["bert"]), *DESCRIBED, "--methods", "lora,ia3,houlsby_adapter")
    result = runner.invoke(app, ["suggest", *arguments], catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert "houlsby_adapter" in result.stdout
    assert re.search(r"^1\. (lora|ia3|houlsby_adapter): why", result.stdout, re.MULTILINE)
    table = result.stdout[: result.stdout.index("1. ")]
    rows = re.findall(r"^ *\d+  \w", table, re.MULTILINE)
    assert len(re.findall(r" -?\d+…-?\d+$", table, re.MULTILINE)) == len(rows) >= 3, "each gain has its interval"
    assert "of memory and" in result.stdout
    assert "Nearest measured runs:" in result.stdout
    assert re.search(r"arXiv\s+\d{4}\.\d{5}", result.stdout)


def test_a_known_model_costs_no_heavy_import(tiny_models):
    """The second suggestion for a model imports none of the libraries that take seconds."""
    suggest(str(tiny_models["bert"]), task="classification", rows=5000, tokens_per_row=64)
    program = (
        "import sys; from autopeft.recommend.suggest import suggest;"
        f"suggest({str(tiny_models['bert'])!r}, task='classification', rows=5000, tokens_per_row=64);"
        "print([m for m in ('torch', 'transformers', 'peft', 'datasets', 'sklearn', 'scipy') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ.copy()
    )
    assert answer.stdout.strip() == "[]"


def test_a_pareto_set_shows_what_is_on_it_alone(tiny_models):
    """What does not fit is on no front, and not in its table."""
    profiles = collect_profiles(
        str(tiny_models["bert"]), None, task="classification", rows=5000, tokens_per_row=64, columns=None, gpu=None,
        memory_bytes=None,
    )  # fmt: skip
    found = recommend_for(profiles, Constraints(methods=("lora", "ia3", "full")))
    large = replace(found, candidates=(*found.candidates[:-1], replace(found.candidates[-1], fits=False)))
    chosen = preferred(large, parse_objectives("quality,memory"))
    front = [candidate for candidate in chosen.candidates if candidate.on_front]
    assert chosen.candidates[-1].on_front is None
    assert view(profiles, chosen, 99)[2].row_count == len(front) < len(chosen.candidates)
    assert view(profiles, large, 99)[2].row_count == len(large.candidates)
