"""The tuned config: one file that gives the same model, data, optimizer and schedule to any training code."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
import yaml

from autopeft import TunedConfig
from autopeft.data import load_data
from autopeft.errors import AutopeftError, FileFormatError, ModelError
from autopeft.profiling.model import read_model
from autopeft.testing.models import tiny_model_folder
from autopeft.tuned import SCHEMA_VERSION, FullTraining, ModelReference, Provenance
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import Score
from tests.toys import classification_csv, completion_jsonl

SCORE = Score(metric="accuracy", value=0.5, low=0.4, high=0.6, level=0.95, rows=24)
LORA = Candidate(
    method="lora", parameters={"rank": 4, "alpha": 8, "dropout": 0.0}, targets="qv", learning_rate=1e-2, batch_size=8
)
ADALORA = replace(
    LORA, method="adalora", parameters={"rank": 2, "initial_rank": 4, "alpha": 8, "dropout": 0.0}, targets="all-linear"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")


@pytest.fixture
def make(tiny_models, source):
    """Returns candidate → tuned config on the tiny BERT and the toy data."""

    def build(candidate=LORA, **data):
        profile = read_model(str(tiny_models["bert"]), "classification", 2)
        spec = load_data(str(source), token_limit=24).spec
        return TunedConfig(
            schema_version=SCHEMA_VERSION,
            model=ModelReference(
                source=profile.source, fingerprint=profile.fingerprint, task="classification", labels=2
            ),
            candidate=candidate,
            data=replace(spec, **data),
            training=FullTraining(
                epochs=2.0, steps=48, warmup_share=0.06, weight_decay=0.0, max_gradient_norm=1.0, seed=3, head_seed=5
            ),
            provenance=Provenance(autopeft_version="0", validation=SCORE, test=SCORE),
        )

    return build


def trained(tuned, output, source, **overrides):
    """Trains with transformers' Trainer exactly as the README says, and returns it."""
    model, _ = tuned.load_model()
    data = tuned.prepare(source)
    trainer = transformers.Trainer(
        model=model,
        args=tuned.training_arguments(output, save_strategy="no", disable_tqdm=True, **overrides),
        train_dataset=data["train"],
        callbacks=tuned.callbacks(),
        optimizers=tuned.optimizers(model),
    )
    trainer.train()
    return trainer


def test_a_config_round_trips_byte_for_byte(make, tmp_path):
    """Saved, loaded and saved again, the file does not change."""
    tuned = make(class_weights=(1.0, 2.0))
    tuned.save(tmp_path / "a.yaml")
    again = TunedConfig.load(tmp_path / "a.yaml")
    assert again == tuned
    again.save(tmp_path / "b.yaml")
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_three_lines_give_a_trainer_that_learns(make, source, tmp_path):
    """The model, the data and the optimizer of the config train in transformers' Trainer, without a collator."""
    trainer = trained(make(replace(LORA, targets="all-linear")), tmp_path, source, logging_steps=1, max_steps=40)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 40
    assert sum(losses[-8:]) < sum(losses[:8])
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert max(rates) == pytest.approx(1e-2, rel=0.01)
    assert rates[-1] < 1e-3


def test_half_precision_trains_where_there_is_no_gpu(make, source, tmp_path):
    """A config that a CPU's search ended in, in bfloat16, needs no further argument to train there."""
    tuned = make(replace(LORA, targets="all-linear", dtype="bfloat16"))
    trainer = trained(tuned, tmp_path, source, logging_steps=1, max_steps=3)
    assert trainer.args.bf16
    assert trainer.args.use_cpu is not torch.cuda.is_available()
    assert len([entry for entry in trainer.state.log_history if "loss" in entry]) == 3


def test_the_same_config_gives_the_same_model(make):
    """Head, adapter and base are the same at every load: the config carries their seeds."""
    one, two = (make().load_model()[0].state_dict() for _ in range(2))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_prepare_uses_the_columns_labels_limit_and_split_of_the_search(make, source, tmp_path):
    """Another file with the same columns is encoded alike; its rows are cut at the same limit."""
    data = make(token_limit=10).prepare(source)
    assert {name: len(split) for name, split in data.items()} == {"train": 192, "validation": 25, "test": 23}
    assert max(data["train"].lengths) == 10
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(source.read_text().replace("text,label", "words,label", 1))
    with pytest.raises(AutopeftError, match="text"):
        make().prepare(renamed)


def test_adalora_moves_its_ranks_through_the_callback(make, source, tmp_path):
    """AdaLoRA's budget falls from the initial to the target rank over the trainer's own number of steps."""
    tuned = make(ADALORA)
    trainer = trained(tuned, tmp_path, source, max_steps=30)
    allocator = trainer.model.base_model.rankallocator
    assert allocator.peft_config.total_step == 30
    kept = sum(sum(mask) for mask in allocator.peft_config.rank_pattern.values())
    assert kept == allocator.target_bgt
    assert allocator.target_bgt < allocator.init_bgt


def test_lora_plus_gives_two_learning_rates(make):
    """LoRA+ trains the B matrices at a multiple of the A matrices' rate, through `optimizers`."""
    tuned = make(replace(LORA, optimizer="lora_plus"))
    model, _ = tuned.load_model()
    optimizer, _ = tuned.optimizers(model)
    rates = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["lr"]
    assert {rate for name, rate in rates.items() if "lora_A" in name} == {1e-2}
    assert [rate for name, rate in rates.items() if "lora_B" in name] == pytest.approx([16e-2] * 6)
    assert all(name in rates for name, p in model.named_parameters() if p.requires_grad)


def test_the_schedule_is_handed_to_the_trainer(make, tmp_path):
    """A schedule with options of its own reaches transformers with them, counted over the steps after the warm-up."""
    arguments = make(replace(LORA, schedule="warmup_stable_decay")).training_arguments(tmp_path)
    assert arguments.lr_scheduler_type == "warmup_stable_decay"
    assert arguments.lr_scheduler_kwargs["num_decay_steps"] == 9  # a fifth of what 3 of 48 steps of warm-up leave


def first_gradients(tuned, output, source):
    """Returns what the first step of the README's trainer goes by, with nothing dropped out and nothing clipped."""
    model, _ = tuned.load_model()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    found: list[torch.Tensor] = []

    class Watch(transformers.TrainerCallback):  # type: ignore[misc]
        def on_pre_optimizer_step(self, _args, _state, _control, **_kwargs):
            found.extend(p.grad.clone() for p in model.parameters() if p.grad is not None)

    transformers.Trainer(
        model=model,
        args=tuned.training_arguments(output, save_strategy="no", disable_tqdm=True, max_steps=1, max_grad_norm=0.0),
        train_dataset=tuned.prepare(source)["train"],
        callbacks=[Watch()],
        optimizers=tuned.optimizers(model),
    ).train()
    return found


@pytest.mark.parametrize("weights", [None, (1.0, 1.0)])
def test_accumulated_rows_count_as_rows_of_one_batch(make, source, tmp_path, weights):
    """Four batches of four rows give the gradients of one of sixteen, and not four times as much."""
    parts = make(replace(LORA, batch_size=4, accumulation=4), class_weights=weights)
    whole = make(replace(LORA, batch_size=16), class_weights=weights)
    for one, two in zip(*(first_gradients(tuned, tmp_path, source) for tuned in (parts, whole)), strict=True):
        assert torch.allclose(one, two, rtol=1e-3, atol=1e-6)


def test_checkpointing_is_what_was_estimated_and_tried(make, source, tmp_path):
    """It is on, and the embeddings' output asks for no gradients, for which layers without adapters were recomputed."""
    trainer = trained(make(replace(LORA, gradient_checkpointing=True)), tmp_path, source, max_steps=1)
    base = trainer.model.get_base_model()
    assert any(getattr(module, "gradient_checkpointing", False) for module in base.modules())
    assert not base.get_input_embeddings()._forward_hooks


def test_configs_of_the_libraries(make):
    """peft's and bitsandbytes' objects say what the candidate says, and are None where there is none."""
    import peft

    config = make().peft_config()
    assert isinstance(config, peft.LoraConfig)
    assert (config.r, config.lora_alpha) == (4, 8)
    assert make().quantization_config() is None
    quantized = make(replace(LORA, quantization="nf4-double")).quantization_config()
    assert quantized.bnb_4bit_quant_type == "nf4"
    assert quantized.bnb_4bit_use_double_quant
    bitfit = Candidate(method="bitfit", targets="none", learning_rate=1e-3)
    assert make(bitfit).peft_config() is None


def test_a_quantized_decoder_trains(tiny_models, tmp_path):
    """A 4-bit base on a CPU loads, trains a step in the Trainer, and its codes stay as they were."""
    from autopeft.training.base import fingerprint

    profile = read_model(str(tiny_models["llama"]), "generation")
    rows = completion_jsonl(tmp_path / "pairs.jsonl")
    tuned = TunedConfig(
        schema_version=SCHEMA_VERSION,
        model=ModelReference(source=profile.source, fingerprint=profile.fingerprint, task="generation", labels=0),
        candidate=replace(LORA, quantization="nf4", gradient_checkpointing=True),
        data=load_data(str(rows)).spec,
        training=FullTraining(
            epochs=1.0, steps=2, warmup_share=0.0, weight_decay=0.0, max_gradient_norm=1.0, seed=0, head_seed=0
        ),
        provenance=Provenance(autopeft_version="0", validation=SCORE, test=SCORE),
    )
    trainer = trained(tuned, tmp_path / "out", rows, max_steps=2)
    before, after = (model.get_base_model() for model in (tuned.load_model()[0], trainer.model))
    codes = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(before.state_dict()[codes], after.state_dict()[codes])
    assert before.state_dict()[codes].dtype == torch.uint8
    assert fingerprint(before) != fingerprint(after)  # the adapter did train


def test_another_model_is_refused(make, tmp_path):
    """A config that points to a model other than the tuned one is refused before weights are loaded."""
    other = tiny_model_folder("gpt2", tmp_path / "other", weights=False)
    tuned = make()
    wrong = replace(tuned, model=replace(tuned.model, source=str(other)))
    with pytest.raises(ModelError, match="must be the model that was tuned"):
        wrong.load_model()


def test_a_broken_config_is_named(make, tmp_path):
    """A newer schema, an unknown key and a missing file each give one error that names it."""
    path = tmp_path / "tuned.yaml"
    make().save(path)
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**content, "schema_version": 99}))
    with pytest.raises(FileFormatError, match=r"must be 1; got 99.\nA newer version needs a newer autopeft"):
        TunedConfig.load(path)
    path.write_text(yaml.safe_dump({**content, "candidat": content["candidate"]}))
    with pytest.raises(FileFormatError, match=r"`candidat` is not a known key\. Did you mean 'candidate'"):
        TunedConfig.load(path)
    with pytest.raises(FileFormatError, match="does not exist"):
        TunedConfig.load(tmp_path / "missing.yaml")


def test_the_training_example_runs(make, source, tmp_path, capsys):
    """examples/train.py trains from a config, scores the test split and leaves what was trained."""
    import runpy

    make().save(tmp_path / "tuned.yaml")
    example = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "train.py"))
    example["main"](str(tmp_path / "tuned.yaml"), str(source), str(tmp_path / "out"), 2)
    assert "test_loss" in capsys.readouterr().out
    assert (tmp_path / "out" / "adapter_model.safetensors").stat().st_size > 1000
