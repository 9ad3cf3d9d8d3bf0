"""Full training leaves a whole folder, learns, resumes where it stood, and overwrites nothing."""

import errno
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from autopeft.errors import AutopeftError, DivergedError, InvalidValueError, ModelError, StudyError
from autopeft.files import parse, read_json
from autopeft.finetune import Silent, Trained, train
from autopeft.finetune.checkpoints import STATE, newest, read, stalled
from autopeft.finetune.folder import Identity, TrainedFolder, disk_guard
from autopeft.finetune.logits import logits
from autopeft.finetune.public import public_bytes
from autopeft.finetune.train import SPLITS
from autopeft.testing.models import tiny_model_folder
from autopeft.training.checkpoint import save_state
from autopeft.training.run import collate
from autopeft.training.scoring import predict
from autopeft.tuned import TunedConfig
from tests.finetune.conftest import LORA, TOKEN
from tests.toys import classification_csv


class Killed(Silent):
    """Stops a training at a step, as a user's Ctrl-C would."""

    def __init__(self, at):
        self.at = at

    def step(self, done, total, train_loss, validation_loss):
        if done >= self.at:
            raise KeyboardInterrupt


def test_training_improves_both_splits_and_says_so(finished):
    """Scores before and after have intervals; on an easy task training raises both."""
    for part in (finished.validation, finished.test):
        assert part.before.low <= part.before.value <= part.before.high
        assert part.after.value > part.before.value
        assert part.after.low <= part.after.value <= part.after.high
    assert finished.test.after.rows == 23
    assert finished.trainable_parameters > 1000
    assert 1 <= finished.kept_step <= finished.steps <= 48


def test_the_folder_is_whole(finished):
    """Adapter in peft's format, tokenizer, config, metrics and card lie there; nothing is half written or pickled."""
    folder = Path(finished.output)
    names = {path.name for path in folder.iterdir()}
    assert {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "tuned.yaml", "metrics.json", "README.md",
        "merged",
    } <= names  # fmt: skip
    assert not names & {"checkpoints", ".unfinished"}
    assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".pt", ".pth", ".pkl"}]
    assert parse(Trained, read_json(folder / "metrics.json"), "metrics") == finished


def test_the_card_tells_the_provenance(finished, tuned):
    """The card has the search's trials, the config, the fingerprint of the base and both scores."""
    card = (Path(finished.output) / "README.md").read_text()
    assert "library_name: peft" in card
    assert "3 completed" in card
    assert "- Spoke for it: a good default (Hu et al.)" in card
    assert "base_model" not in card  # a folder of this machine: no hub knows it
    assert str(Path(tuned.model.source).parent) not in card
    assert tuned.model.fingerprint[:16] in card
    assert f"{finished.test.after.value:.4f}" in card
    assert f"{finished.test.before.value:.4f}" in card


def test_everything_is_measured_before_and_after(finished, writer):
    """Other data, general text, time, memory and size are there, in the outcome and on the card."""
    (other,) = finished.also
    assert other.after.value > other.before.value + 0.2  # sentences of the same kind, which it can tell now
    assert finished.forgetting.measure == "masked_lm_loss"
    assert writer.forgetting.measure == "perplexity"
    assert finished.forgetting.change == pytest.approx(finished.forgetting.after - finished.forgetting.before) != 0
    took = finished.inference
    assert (took.latency.rows, took.latency.merged_milliseconds) == (8, took.base_milliseconds)
    assert took.base_milliseconds > 0 < took.latency.attached_milliseconds  # which is longer, noise decides here
    assert took.base_peak_bytes > 10**8  # the process as a whole, torch included
    assert finished.expected.kind == "cpu"
    assert 10**5 < finished.expected.peak_bytes < 10**8
    assert 0 < finished.step_seconds < finished.seconds
    folder = Path(finished.output)
    written = [folder / "adapter_model.safetensors", folder / "adapter_config.json"]
    assert finished.adapter_bytes == pytest.approx(sum(path.stat().st_size for path in written), rel=0.2)
    card = (folder / "README.md").read_text()
    for words in (
        f"{other.after.rows} test rows of other.csv | {other.before.value:.4f} (",
        f"| masked-word loss on general text | {finished.forgetting.before:.4g} |",
        f"| forward pass, 8 rows of {took.latency.tokens} tokens in all | {took.base_milliseconds:.3g} ms |",
        f"| peak memory of training | {finished.expected.peak_bytes / 2**20:.1f} MiB |",
    ):
        assert words in card


def test_other_data_must_suit_the_model(tuned, writer, source, tmp_path):
    """Rows without the columns, and a task for another kind of model, are refused before anything is trained."""
    (tmp_path / "odd.csv").write_text("sentence,label\n" + "".join(f"film {i},pos\nsong {i},neg\n" for i in range(40)))
    with pytest.raises(AutopeftError, match="has no column 'text' for text"):
        train(tuned, source, tmp_path / "out", also=[str(tmp_path / "odd.csv")])
    writing = TunedConfig.load(Path(writer.output) / "tuned.yaml")
    with pytest.raises(InvalidValueError, match=r"`--also` of the training must be data that a model for generation"):
        train(writing, writing.data.source, tmp_path / "out", also=[str(source)])
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_error_and_what_is_done_is_kept(tuned, source, tmp_path, monkeypatch):
    """The checkpoint before it is whole, no part of another is left, and the run goes on from there."""
    saved: list[int] = []

    def filling(state, path):
        if len(saved) == 2:
            path.write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_state(state, path)
        saved.append(state.done)

    monkeypatch.setattr("autopeft.finetune.checkpoints.save_state", filling)
    with pytest.raises(StudyError, match=r"The disk that holds .* is full\.\nWhat is done is kept"):
        train(tuned, source, tmp_path / "out")
    kept = newest(tmp_path / "out" / "checkpoints")
    assert kept is not None
    assert read(kept).done == saved[-1]
    assert not list((tmp_path / "out" / "checkpoints").glob(".*"))


def test_a_disk_that_fills_up_at_once_leaves_what_can_be_resumed(tuned, tmp_path, monkeypatch):
    """Whichever file of a new folder was the last that went in, --resume goes on from there, with both."""
    identity = Identity(schema_version=1, config="c", rows="r", epochs=1.0)
    written: list[int] = []

    def filling(path, text):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path.write_text(text))

    folder = TrainedFolder(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("autopeft.finetune.folder.write_text", filling)
        patch.setattr("autopeft.tuned.write_text", filling)
        with pytest.raises(OSError, match="No space left"):
            folder.begin(tuned, identity)
    folder.check_may_start(resume=True)
    folder.begin(tuned, identity)
    assert TunedConfig.load(folder.tuned) == tuned


def test_only_a_full_disk_is_told_as_one(tmp_path):
    """Python's own errors for it become one; any other error keeps its traceback."""
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(StudyError, match="is full"), disk_guard(tmp_path):
            raise OSError(number, "said otherwise")
    with pytest.raises(PermissionError), disk_guard(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(SafetensorError), disk_guard(tmp_path):
        raise SafetensorError("HeaderTooLarge")


def test_peft_and_transformers_load_what_was_written(finished, tuned):
    """The saved adapter on the base and the merged model give the same logits in the libraries themselves."""
    import peft
    import transformers

    folder = Path(finished.output)
    merged = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "merged")
    assert merged.config.id2label == {0: "neg", 1: "pos"}
    attached, tokenizer = tuned.load_trained(folder, device="cpu")
    assert isinstance(attached, peft.PeftModel)
    batch = tokenizer(["film 12 was good", "song 3 was awful"], return_tensors="pt", padding=True)
    with torch.no_grad():
        one, two = attached.eval()(**batch).logits, merged.eval()(**batch).logits
    assert torch.allclose(one, two, atol=1e-4)


def test_a_killed_training_goes_on_as_if_nothing_had_been(finished, tuned, source, tmp_path):
    """Resumed from its checkpoint, a run ends with the very weights of one that was never stopped."""
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(tuned, source, output, observer=Killed(20))
    assert not (output / "metrics.json").exists()
    assert newest(output / "checkpoints") is not None
    with pytest.raises(StudyError, match="Add --resume"):
        train(tuned, source, output)
    with pytest.raises(StudyError, match="epochs differ"):
        train(tuned, source, output, epochs=1, resume=True)
    again = train(tuned, source, output, resume=True)
    assert again.kept_step == finished.kept_step
    one, two = (load_file(Path(run.output) / "adapter_model.safetensors") for run in (finished, again))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(StudyError, match="holds a finished training"):
        train(tuned, source, output, resume=True)


class KilledLater(Silent):
    """Stops when training is over and its result is about to be scored."""

    def phase(self, text):
        if text == "Scoring after training":
            raise KeyboardInterrupt


def test_a_training_killed_before_its_result_is_written_takes_no_step_more(finished, tuned, source, tmp_path):
    """What was stopped after the last step is scored and written on resuming, without training again."""
    with pytest.raises(KeyboardInterrupt):
        train(tuned, source, tmp_path / "out", observer=KilledLater())
    again = train(tuned, source, tmp_path / "out", resume=True)
    assert (again.steps, again.kept_step, again.stopped_early) == (
        finished.steps, finished.kept_step, finished.stopped_early,
    )  # fmt: skip
    assert again.test == finished.test
    assert again.seconds > 0


def test_a_stalled_loss_ends_training():
    """Four readings without a lower loss are the end; three, or a lower one among them, are not."""
    falling = [{"eval_loss": 1.0 - i / 10} for i in range(6)]
    assert not stalled(falling)
    assert not stalled([*falling, *[{"eval_loss": 0.9}] * 3])
    assert stalled([*falling, {"loss": 0.1}, *[{"eval_loss": 0.9}] * 4])
    assert not stalled([])


class Readings(Silent):
    """Keeps the validation loss of each reading by its step."""

    def __init__(self):
        self.losses: dict[int, float] = {}

    def step(self, done, total, train_loss, validation_loss):
        if validation_loss is not None:
            self.losses[done] = validation_loss


def test_early_stopping_keeps_the_best_weights(tuned, source, tmp_path):
    """At a rate that spoils what was learnt, training ends before its steps are done and keeps an earlier step."""
    spoilt = replace(tuned, candidate=replace(LORA, learning_rate=0.3), training=replace(tuned.training, epochs=8.0))
    seen = Readings()
    trained = train(spoilt, source, tmp_path / "out", observer=seen)
    assert trained.stopped_early
    assert trained.kept_step < trained.steps < 8 * 24
    assert seen.losses[trained.kept_step] == min(seen.losses.values()) < seen.losses[trained.steps]
    model, _ = spoilt.load_trained(trained.output, device="cpu")
    rows = spoilt.prepare(source)["validation"]
    with torch.no_grad():
        loss = model.eval()(**collate(rows, range(len(rows)), "cpu")).loss
    assert float(loss) == pytest.approx(seen.losses[trained.kept_step], rel=1e-4)


def test_weights_that_are_no_numbers_are_no_result(tuned, source, tmp_path):
    """A training that diverged before any reading was good ends in one error, and nothing is called finished."""
    config = replace(tuned, candidate=replace(LORA, learning_rate=1e30))
    with pytest.raises(DivergedError, match=r"Training diverged.*\nLower `candidate\.learning_rate`"):
        train(config, source, tmp_path / "out", epochs=0.3)
    assert not list((tmp_path / "out").glob("adapter_*"))
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_predictions_that_are_no_numbers_are_no_result(tuned, source, tmp_path, monkeypatch):
    """A trained model without a loss on a row, which no figure in a file could stand for, ends in one error."""
    asked = []

    def lost(*arguments, **options):
        said = predict(*arguments, **options)
        asked.append(said)
        return said if len(asked) <= len(SPLITS) else replace(said, losses=[float("nan")] * len(said.losses))

    monkeypatch.setattr(sys.modules["autopeft.finetune.train"], "predict", lost)
    with pytest.raises(DivergedError, match="the loss on held-out rows is no number"):
        train(tuned, source, tmp_path / "out", epochs=0.3)
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_a_checkpoint_cut_short_is_one_error(tuned, source, tmp_path):
    """A damaged checkpoint stops the resumed run before anything is written."""
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train(tuned, source, output, observer=Killed(10))
    latest = newest(output / "checkpoints")
    assert latest is not None
    state = latest / STATE
    state.write_bytes(state.read_bytes()[:-100])
    before = sorted(path.name for path in output.rglob("*"))
    with pytest.raises(StudyError, match=r"checkpoint-\d+ is incomplete or damaged"):
        train(tuned, source, output, resume=True)
    assert sorted(path.name for path in output.rglob("*")) == before


def test_nothing_that_lies_in_the_folder_is_overwritten(tuned, source, tmp_path):
    """A folder with anything else in it is refused and left as it was."""
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(StudyError, match="is not empty and holds no training"):
        train(tuned, source, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["mine.txt"]


def test_bad_configs_are_refused_before_a_folder_is_made(tuned, source, tmp_path):
    """A missing method, another base model, no epochs, and a merge that cannot be: one error, no folder."""
    out = tmp_path / "out"
    gone = replace(tuned, candidate=replace(LORA, method="lorra"))
    with pytest.raises(InvalidValueError, match="Did you mean"):
        train(gone, source, out)
    own = replace(tuned, candidate=replace(LORA, method="zzz"))
    with pytest.raises(InvalidValueError, match=r"one of the \d+ that this autopeft has.*\n`autopeft methods` "):
        train(own, source, out)
    other = tiny_model_folder("gpt2", tmp_path / "other")
    wrong = replace(tuned, model=replace(tuned.model, source=str(other)))
    with pytest.raises(ModelError, match="must be the model that was tuned"):
        train(wrong, source, out)
    with pytest.raises(InvalidValueError, match="`epochs`"):
        train(tuned, source, out, epochs=0)
    prompts = {"virtual_tokens": 4}
    soft = replace(tuned, candidate=replace(LORA, method="prompt_tuning", parameters=prompts, targets="none"))
    with pytest.raises(InvalidValueError, match="does not merge"):
        train(soft, source, out, merge=True)
    with pytest.raises(AutopeftError, match="does not exist"):
        train(tuned, tmp_path / "none.csv", out)
    assert not out.exists()


def test_an_adapter_is_refused_on_another_base_model(finished, tmp_path):
    """A trained folder whose config points to another model is refused by its fingerprint."""
    from autopeft.finetune import predict_rows

    copy = tmp_path / "copy"
    shutil.copytree(finished.output, copy)
    tuned = TunedConfig.load(copy / "tuned.yaml")
    other = tiny_model_folder("gpt2", tmp_path / "other")
    replace(tuned, model=replace(tuned.model, source=str(other))).save(copy / "tuned.yaml")
    (tmp_path / "rows.csv").write_text("text\nfilm\nbook\n")
    with pytest.raises(ModelError, match="must be the model that was tuned"):
        predict_rows(copy, tmp_path / "rows.csv")


def test_no_token_is_written(finished, tuned, source, tmp_path, monkeypatch):
    """A hub token of the environment stands in no file of the output, its card among them, nor of a checkpoint."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(KeyboardInterrupt):
        train(tuned, source, tmp_path / "out", observer=Killed(10))
    files = [
        path for folder in (finished.output, tmp_path / "out") for path in Path(folder).rglob("*") if path.is_file()
    ]
    assert {"README.md", "metrics.json", "tuned.yaml", STATE} <= {path.name for path in files}
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


def test_a_method_with_steps_of_its_own_runs_to_its_end(tuned, source, tmp_path):
    """AdaLoRA keeps its last weights, not those of an unfinished schedule, and the outcome says so."""
    parameters = {"rank": 2, "initial_rank": 4, "alpha": 8, "dropout": 0.0}
    config = replace(tuned, candidate=replace(LORA, method="adalora", parameters=parameters))
    trained = train(config, source, tmp_path / "out")
    assert trained.kept_step == trained.steps == 48
    assert "last step" in trained.notes[0]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["stopped_early"] is False


def test_checkpoints_hold_what_trains_alone(tuned, source, tmp_path):
    """A checkpoint's weights are the trained ones, not the base's."""
    with pytest.raises(KeyboardInterrupt):
        train(tuned, source, tmp_path / "out", observer=Killed(10))
    latest = newest(tmp_path / "out" / "checkpoints")
    assert latest is not None
    state = read(latest)
    assert sum(weight.numel() for weight in state.weights) < 30_000
    assert state.done >= 6


@pytest.mark.parametrize("method", ["corda", "lora_ga"])
def test_a_start_from_data_is_made_once(method, tuned, source, tmp_path, monkeypatch):
    """What is saved, on a base that nothing has moved, is the very model that was trained and scored."""
    module, scored = sys.modules["autopeft.finetune.train"], []
    publish = module._publish

    def watched(work, folder, trained):
        scored.extend(logits(work.model, work.data["test"], dtype="float32", device="cpu"))
        publish(work, folder, trained)

    monkeypatch.setattr(module, "_publish", watched)
    parameters = {"rank": 4, "alpha": 4, "dropout": 0.0}
    config = replace(tuned, candidate=replace(LORA, method=method, parameters=parameters, learning_rate=1e-3))
    train(config, source, tmp_path / "out", epochs=0.2)
    model, _ = config.load_trained(tmp_path / "out", device="cpu")
    saved = logits(model, config.prepare(source)["test"], dtype="float32", device="cpu")
    assert np.allclose(saved, scored, atol=1e-4)


def test_the_folder_names_what_was_trained_on(tuned, tmp_path, monkeypatch):
    """Config and card name this training's data, not the search's; relative places become whole, so push knows them."""
    monkeypatch.chdir(tmp_path)
    Path("clients").mkdir()
    Path("clients", "bert").symlink_to(tuned.model.source)
    classification_csv(Path("clients", "mine.csv"), rows=120, seed=5)
    given = replace(tuned, model=replace(tuned.model, source="clients/bert"))
    outcome = train(given, "clients/mine.csv", "clients/out", epochs=0.2, also=["clients/mine.csv"])
    folder, held = Path("clients/out"), tmp_path / "clients"
    assert outcome.also[0].source == str(held / "mine.csv")
    kept = TunedConfig.load(folder / "tuned.yaml")
    assert (kept.data.source, kept.model.source) == (str(held / "mine.csv"), str(held / "bert"))
    assert "- Data: mine.csv, split seed" in (folder / "README.md").read_text()
    files = [path for path in folder.iterdir() if path.suffix in (".json", ".yaml", ".md")]
    monkeypatch.chdir(folder)
    assert not [path.name for path in files if b"clients" in public_bytes(tmp_path / path)]
