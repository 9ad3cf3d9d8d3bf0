"""`autopeft estimate`: its document, its verdict, the largest that fits, and how it fails."""

import json
import os
import subprocess
import sys

import pytest

import autopeft as library

GIB = 1 << 30
KEYS = {
    "peak_allocated_bytes", "peak_reserved_bytes", "context_bytes", "total_bytes", "fits", "headroom_bytes",
    "trainable_parameters", "total_parameters", "step_seconds", "step_seconds_low", "step_seconds_high",
    "tokens_per_second", "breakdown", "peak_phase", "notes",
}  # fmt: skip
BREAKDOWN = {
    "weights", "adapter", "gradients", "optimizer_state", "activations", "logits_and_loss", "temporaries",
}  # fmt: skip
LLAMA_1B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
    "vocab_size": 128256, "tie_word_embeddings": True, "max_position_embeddings": 4096,
}  # fmt: skip
QLORA = (
    "--method", "lora", "--set", "rank=16", "--set", "targets=attention", "--quantization", "nf4-double",
    "--dtype", "bfloat16", "--optimizer", "paged_adamw_8bit", "--batch-size", "1", "--sequence-length", "1024",
    "--gradient-checkpointing", "--gpu", "rtx-3090",
)  # fmt: skip


@pytest.fixture(scope="module")
def billion(tmp_path_factory):
    """A folder with nothing but the config of a model of 1.2 billion parameters."""
    folder = tmp_path_factory.mktemp("llama-1b")
    (folder / "config.json").write_text(json.dumps(LLAMA_1B))
    return str(folder)


@pytest.fixture
def estimated(autopeft, monkeypatch, tmp_path_factory):
    """Calls `autopeft estimate … --json` and returns the document."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "profiles"))

    def call(*arguments):
        found = autopeft("estimate", *arguments, "--json")
        assert found.code == 0, found.err
        return json.loads(found.out)

    return call


@pytest.fixture
def seen(autopeft, monkeypatch, tmp_path_factory):
    """Calls `autopeft estimate …` and returns what came of it for a person."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path_factory.getbasetemp() / "profiles"))
    return lambda *arguments: autopeft("estimate", *arguments)


def test_the_document_has_every_key(estimated, billion):
    """A program finds memory, verdict, parameters, time and the breakdown, which adds up."""
    found = estimated("--model", billion, *QLORA)
    assert set(found) == KEYS
    assert set(found["breakdown"]) == BREAKDOWN
    assert sum(found["breakdown"].values()) == found["peak_allocated_bytes"] <= found["peak_reserved_bytes"]
    assert found["total_bytes"] == found["peak_reserved_bytes"] + found["context_bytes"]
    assert found["headroom_bytes"] == 24 * GIB - found["total_bytes"]
    assert found["fits"]
    assert found["trainable_parameters"] == 16 * 16 * (2 * (2048 + 2048) + 2 * (2048 + 512))
    assert found["tokens_per_second"] == pytest.approx(1024 / found["step_seconds"])


def test_the_library_answers_as_the_command_does(estimated, billion):
    """`autopeft.estimate` returns what the command prints, under the same names."""
    printed = estimated("--model", billion, *QLORA)
    found = library.estimate(
        billion, method="lora", parameters={"rank": 16}, targets="attention", quantization="nf4-double",
        dtype="bfloat16", optimizer="paged_adamw_8bit", sequence_length=1024, gradient_checkpointing=True,
        gpu="rtx-3090",
    )  # fmt: skip
    assert {key: getattr(found, key) for key in KEYS - {"notes", "breakdown"}} == {
        key: printed[key] for key in KEYS - {"notes", "breakdown"}
    }
    assert dict(found.breakdown) == printed["breakdown"]


def test_other_training_code_is_described_by_options(estimated, seen, billion):
    """What it does its own way is asked for by the same words in both interfaces, and said in the first lines."""
    options = (
        "--checkpointing",
        "reentrant",
        "--loss",
        "chunked",
        "--attention",
        "flash",
        "--packing",
        "--no-autocast",
    )
    run = ("--model", billion, "--gradient-checkpointing", "--batch-size", "4", "--gpu", "rtx-3090")
    own, printed = estimated(*run), estimated(*run, *options)
    found = library.estimate(
        billion, gradient_checkpointing=True, batch_size=4, gpu="rtx-3090", checkpointing="reentrant", loss="chunked",
        attention="flash", packing=True, autocast=False,
    )  # fmt: skip
    assert found.peak_allocated_bytes == printed["peak_allocated_bytes"] < own["peak_allocated_bytes"]
    said = "reentrant checkpointing, chunked loss, flash attention, packed, without autocast"
    assert said in " ".join(seen(*run, *options).out.split())


@pytest.mark.parametrize("number", ["batch-size", "sequence-length", "rank"])
def test_the_maximum_fits_and_the_next_does_not(estimated, billion, number):
    """What `--maximize` says can be asked for: it fits, and one more does not or cannot be."""
    run = ["--model", billion, "--dtype", "bfloat16", "--gradient-checkpointing", "--gpu", "rtx-3090"]
    if number == "rank":
        run += ["--set", "targets=qv", "--set", "layers=last:2", "--sequence-length", "64"]
    found = estimated(*run, "--memory", "6GiB", "--maximize", number)
    most = found["maximum"]
    assert set(found) == KEYS | {"maximum"}
    assert found["fits"]
    option = (lambda n: ("--set", f"rank={n}")) if number == "rank" else (lambda n: (f"--{number}", str(n)))
    assert estimated(*run, "--memory", "6GiB", *option(most))["total_bytes"] == found["total_bytes"]
    limits = {"batch-size": None, "sequence-length": 4096, "rank": 512}
    assert most == limits[number] or not estimated(*run, "--memory", "6GiB", *option(most + 1))["fits"]


def test_where_nothing_fits_there_is_no_maximum(estimated, billion):
    """A card that cannot hold the weights has no largest batch; the document says null and why."""
    found = estimated("--model", billion, "--gpu", "rtx-3090", "--memory", "1GiB", "--maximize", "batch-size")
    assert found["maximum"] is None
    assert not found["fits"]
    assert "Not even a batch of 1 fits." in found["notes"]


def test_what_does_not_fit_says_what_would(seen, estimated, billion):
    """Each remedy is a command line that can be run, with what it comes to; --check turns the verdict into a code."""
    run = ("--model", billion, "--gpu", "rtx-3090", "--memory", "8GiB", "--batch-size", "8")
    shown = seen(*run, "--check")
    assert shown.code == 3
    assert "It does not fit" in shown.out
    assert "What to change first" in shown.out
    notes = [note for note in estimated(*run)["notes"] if note.startswith("With --")]
    fitting = next(note for note in notes if " it fits: " in note)
    options = fitting.removeprefix("With ").split(" it fits")[0].replace(" and ", " ").split()
    assert estimated(*run, *options)["fits"]


def test_a_run_that_fits_has_code_0_under_check(seen, billion):
    """`--check` is 0 where it fits."""
    assert seen("--model", billion, *QLORA, "--check").code == 0


def test_people_see_bars_within_80_columns(seen, billion):
    """Every line is within the terminal, every kind of memory is named, and nothing is on stderr."""
    shown = seen("--model", billion, *QLORA)
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith(" ")]
    assert "█" in shown.out
    for words in ("weights", "optimizer state", "logits and loss", "It fits", "Trains ", "Step: "):
        assert words in shown.out
    assert shown.err == ""


def test_a_reserve_is_left_to_others(estimated, billion):
    """A display's GiB is taken off what may be used, not off the estimate."""
    plain, kept = (estimated("--model", billion, *QLORA, *more) for more in ((), ("--reserve", "1GiB")))
    assert kept["total_bytes"] == plain["total_bytes"]
    assert kept["headroom_bytes"] == plain["headroom_bytes"] - GIB


def test_settings_are_read_as_the_parameter_asks(estimated, tiny_models):
    """Numbers, choices and layers given as text do what they say."""
    model = ("--model", str(tiny_models["llama"]), "--gpu", "rtx-3090", "--set", "targets=qv")
    one, two = (
        estimated(*model, "--set", "rank=2", "--layers", layers)["trainable_parameters"]
        for layers in ("last:1", "last:2")
    )
    assert two == 2 * one == 2 * 2 * (48 + 48 + 48 + 24)


def test_strategies_change_what_they_share(estimated, billion):
    """Full sharding divides the weights and adds what is gathered; replicas add buckets of the gradients."""
    run = ("--model", billion, "--method", "full", "--gpu", "a100-80gb", "--dtype", "bfloat16")
    alone, copies, shards = (
        estimated(*run, *more)
        for more in ((), ("--strategy", "ddp", "--devices", "8"), ("--strategy", "fsdp", "--devices", "8"))
    )
    assert copies["breakdown"]["weights"] == alone["breakdown"]["weights"]
    assert copies["peak_allocated_bytes"] == alone["peak_allocated_bytes"] + 4 * alone["trainable_parameters"]
    assert shards["breakdown"]["weights"] == pytest.approx(alone["breakdown"]["weights"] / 8, abs=1)
    assert shards["breakdown"]["optimizer_state"] == pytest.approx(alone["breakdown"]["optimizer_state"] / 8, abs=1)
    assert shards["breakdown"]["temporaries"] > alone["breakdown"]["temporaries"]
    assert any("FSDP full shard on 8 devices" in note for note in shards["notes"])
    assert any("DDP on 8 devices" in note for note in copies["notes"])


BAD = {
    "sequence": (("--sequence-length", "4097"), r"`--sequence-length`.*at most the model's 4096 positions; got 4097"),
    "sequence and prompt": (
        ("--method", "prompt_tuning", "--set", "virtual_tokens=20", "--sequence-length", "4090"),
        "positions less the 20 that the method puts into the sequence",
    ),
    "rank": (("--set", "rank=1024"), "`rank` is 1024, above the smaller dimension 512 of"),
    "rank of nothing": (("--set", "rank=0"), "`rank` must be a whole number from 1"),
    "rank in words": (("--set", "rank=many"), "`rank` must be a whole number from 1 to .*; got 'many'"),
    "batch": (("--batch-size", "0"), "`--batch-size` of an estimate must be at least 1; got 0"),
    "batch beyond sense": (("--batch-size", str(10**20)), "`--batch-size` of an estimate must be at most 1,048,576"),
    "recomputing without": (("--checkpointing", "reentrant"), "Add it, or leave --checkpointing out"),
    "packed classes": (("--packing", "--task", "classification"), "left out but for a decoder that learns to write"),
    "negative batch": (("--batch-size=-3",), "must be at least 1; got -3"),
    "accumulation": (("--accumulation", "0"), "`--accumulation` of an estimate must be at least 1"),
    "no tokens": (("--sequence-length", "0"), "`--sequence-length` of an estimate must be at least 1"),
    "negative rate": (("--learning-rate=-0.1",), "`--learning-rate` of an estimate must be above 0"),
    "devices": (("--strategy", "ddp", "--devices", "0"), "`--devices` of an estimate must be at least 1"),
    "devices alone": (("--devices", "4"), "Add --strategy ddp or --strategy fsdp"),
    "optimizer": (("--optimizer", "adamw_8bits"), "Did you mean 'adamw_8bit'"),
    "method": (("--method", "lorra"), "Did you mean 'lora'"),
    "method left out": (("--method", "qalora"), "qalora is left out: Its layers exist for GPTQ"),
    "method that is an optimizer": (("--method", "galore"), "galore is an optimizer: name it with --optimizer"),
    "quantization": (("--quantization", "nf4-duoble"), "Did you mean 'nf4-double'"),
    "targets": (("--set", "targets=atention"), "Did you mean 'attention'"),
    "layers": (("--layers", "first:2"), "`layers` must be all, last:K"),
    "parameter": (("--set", "rnak=4"), "(?s)`--set` of lora must be one of .*rank.*Did you mean 'rank'"),
    "pair": (("--set", "rank"), "NAME=VALUE, such as rank=16"),
    "twice": (("--set", "rank=4", "--set", "rank=8"), "given once for each name"),
    "layers twice": (
        ("--set", "layers=last:1", "--layers", "last:2"),
        "`--layers` of an estimate must be left out where",
    ),
    "card": (("--gpu", "rtx-3900"), "Did you mean 'rtx-"),
    "dtype": (("--dtype", "bfloat"), "Did you mean 'bfloat16'"),
    "task": (("--task", "generatoin"), "Did you mean 'generation'"),
    "memory": (("--memory", "lots"), "24GiB"),
    "reserve": (("--reserve", "-1GiB"), "`--reserve`"),
    "strategy": (("--strategy", "fdsp"), "Did you mean 'fsdp'"),
    "maximize": (("--maximize", "batchsize"), "Did you mean 'batch-size'"),
    "maximize rank": (("--method", "ia3", "--maximize", "rank"), "Choose a method with a rank"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_error(seen, billion, case):
    """Each mistake ends in code 2, one message on stderr and nothing on stdout."""
    options, message = BAD[case]
    if case != "card":
        options = ("--gpu", "rtx-3090", *options)
    found = seen("--model", billion, "--json", *options)
    assert found.code == 2
    assert found.out == ""
    assert found.err.startswith("Error: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found.err)


def test_an_optimizer_that_needs_cuda_is_refused_elsewhere(seen, billion):
    """A paged optimizer on a card without CUDA is an error, not another optimizer under its name."""
    found = seen("--model", billion, "--gpu", "mi300x", "--optimizer", "paged_adamw_8bit")
    assert found.code == 2
    assert "one that does not need CUDA" in found.err


@pytest.mark.parametrize("name", ["dora", "houlsby_adapter", "ia3", "prompt_tuning", "full"])
def test_a_method_has_a_recipe_of_its_own(estimated, billion, name):
    """Nothing has to be set: each family is planned with its method's own parameters and targets."""
    found = estimated("--model", billion, "--method", name, "--sequence-length", "16", "--gpu", "h200")
    assert found["fits"]
    assert 0 < found["trainable_parameters"] <= found["total_parameters"]


def test_a_known_answer_costs_no_heavy_import(billion, tmp_path):
    """The second estimate of a run imports none of the libraries that take seconds."""
    program = (
        "import sys; from autopeft.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "print(*heavy, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "estimate", "--model", billion, *QLORA, "--json"]
    environment = {**os.environ, "AUTOPEFT_CACHE": str(tmp_path)}
    first, second = (
        subprocess.run(command, capture_output=True, text=True, env=environment, check=True) for _ in range(2)
    )
    assert "torch" in first.stderr
    assert second.stderr.strip() == ""
    assert second.stdout == first.stdout
