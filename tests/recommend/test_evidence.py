import json
import math
import re
from dataclasses import replace

import pytest

from autopeft.errors import FileFormatError
from autopeft.methods import all_methods
from autopeft.quantization import all_quantizations
from autopeft.recommend.evidence import gains, level, measured_gain, published_runs, read_runs, shipped_runs, to_line
from autopeft.values.evidence import Run, RunModel, RunPoint, RunQuality, RunTask


def a_run(**changes):
    run = Run(
        name="a", setting="s", model=RunModel(name="m", kind="encoder", parameters=1000),
        task=RunTask(name="t", task="classification", rows=100, labels=2), method="lora", original="lora",
        parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, targets="qv", learning_rate=1e-3, reference=True,
        status="completed", quality=RunQuality(metric="accuracy", value=0.8), device="cpu", date="2026-11-21",
        source="test", licence="MIT",
    )  # fmt: skip
    return replace(run, **changes)


def scored(value, **changes):
    return a_run(quality=RunQuality(metric="accuracy", value=value), **changes)


def file_of(folder, *lines):
    path = folder / "runs.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_every_shipped_run_is_valid_and_names_the_catalogue():
    """The evidence that comes with autopeft follows its schema; methods, codes and parameters exist and are legal."""
    runs = shipped_runs()
    assert len(runs) > 180
    methods = all_methods()
    for run in runs:
        assert run.quantization in all_quantizations(), run.name
        if run.method is None:
            continue
        legal = methods[run.method].legal
        assert set(run.parameters) <= set(legal), run.name
        for key, value in run.parameters.items():
            assert legal[key]._contains(legal[key].to_internal_repr(value)), (run.name, key, value)


def test_a_line_is_read_as_it_was_written(tmp_path):
    """Writing and reading a run gives the same run, and the same bytes again."""
    run = a_run(quality=RunQuality(metric="accuracy", value=0.8, curve=(RunPoint(share=0.5, value=0.7),)), peak_bytes=3,
                peak_kind="process")  # fmt: skip
    (found,) = read_runs(file_of(tmp_path, to_line(run)))
    assert found == run
    assert to_line(found) == to_line(run)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"tokens": ' + "9" * 5000 + "}", "line 1 is not valid JSON"),
        ("[" * 100_000, "line 1 is not valid JSON"),
        (to_line(a_run(tokens=10**400)), "line 1 is not a possible run:\n  `tokens` must be a finite number"),
    ],
    ids=["a number of thousands of digits", "brackets in brackets", "beyond every float"],
)
def test_what_python_itself_gives_up_on_is_refused_like_any_line(tmp_path, line, said):
    """No line of a file, or of the user's store, ends in a traceback."""
    with pytest.raises(FileFormatError, match=said):
        read_runs(file_of(tmp_path, line))


def test_a_line_ends_where_json_has_it_end(tmp_path):
    """What else ends a line in Unicode stands in a note as it is, and cuts no run in two."""
    run = a_run(notes=("one\u2028two\x85three",))
    assert read_runs(file_of(tmp_path, to_line(run), to_line(replace(run, name="b")))) == (run, replace(run, name="b"))


def test_impossible_figures_are_refused_with_line_and_key(tmp_path):
    """Accuracy 1.7, negative bytes and a date that is none are each named, all lines at once."""
    good = to_line(a_run())
    first = to_line(scored(1.7, name="b"))
    second = to_line(a_run(name="c", peak_bytes=-5, peak_kind="allocated", date="21.11.2026"))
    path = file_of(tmp_path, good, first, second)
    with pytest.raises(FileFormatError, match=re.escape("runs.jsonl, line 2")) as caught:
        read_runs(path)
    message = str(caught.value)
    assert "`quality.value` must be between 0 and 1 for the accuracy; got 1.7." in message
    assert "line 3" in message
    assert "`peak_bytes` must be a finite number of 0 or more; got -5." in message
    assert "`date` must be a day as YYYY-MM-DD; got '21.11.2026'." in message
    assert "line 1" not in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"colour": "red"}, "`colour` is not a known key"),
        ({"status": "great"}, "`status`"),
        ({"schema_version": 2}, "`schema_version` must be 1; got 2"),
        ({"trainable_parameters": 5000}, "`trainable_parameters` must be at most about the model's 1,000; got 5000"),
        ({"learning_rate": 0}, "`learning_rate` must be a finite number above 0; got 0"),
    ],
)
def test_a_wrong_schema_is_refused_with_its_key(tmp_path, changes, told):
    """Unknown keys, unknown words and what the model cannot hold are refused."""
    path = file_of(tmp_path, json.dumps({**json.loads(to_line(a_run())), **changes}))
    with pytest.raises(FileFormatError, match=re.escape(told)):
        read_runs(path)


@pytest.mark.parametrize(
    ("metric", "value", "told"),
    [
        ("validation_loss", 0.0, "`quality.value` must be a finite number above 0 for the validation_loss; got 0.0"),
        ("mae", -0.1, "above 0 for the mae; got -0.1"),
        ("perplexity", 1.0, "above 1 for the perplexity; got 1.0"),
    ],
)
def test_an_error_that_has_no_logarithm_is_refused(tmp_path, metric, value, told):
    """What falls is compared by its logarithm: a value that has none is named where it is read, not where it counts."""
    quality = RunQuality(metric=metric, value=value, higher_is_better=False, share=False)
    path = file_of(tmp_path, to_line(a_run(quality=quality)))
    with pytest.raises(FileFormatError, match=re.escape(told)):
        read_runs(path)
    (near,) = read_runs(file_of(tmp_path, to_line(a_run(quality=replace(quality, value=1.01)))))
    assert near.quality is not None
    assert math.isfinite(level(near.quality))


def test_what_is_not_json_or_told_twice_is_refused(tmp_path):
    """A cut line and a repeated name are named by line."""
    line = to_line(a_run())
    with pytest.raises(FileFormatError, match="line 2 is not valid JSON"):
        read_runs(file_of(tmp_path, line, line[:40]))
    with pytest.raises(FileFormatError, match="line 2: `name` must be unique"):
        read_runs(file_of(tmp_path, line, line))


def test_a_gain_compares_with_plain_lora_on_the_same_targets():
    """In each setting the references on the same targets count, and the best configuration over its settings."""
    other = {"method": "dora", "reference": False}
    runs = [
        scored(0.70, name="1"), scored(0.72, name="2"), scored(0.90, name="3", targets="mlp"),
        scored(0.75, name="4", **other), scored(0.50, name="5", learning_rate=1e-4, **other),
        scored(0.60, name="6", setting="z"), scored(0.62, name="7", setting="z", **other),
    ]  # fmt: skip
    found = gains(runs)["dora"]
    assert found.points == pytest.approx(100 * ((0.75 - 0.71) + (0.62 - 0.60)) / 2)
    assert found.runs == 2
    assert found.learning_rates == (1e-4, 1e-3)
    assert gains(runs)["lora"].points == 0.0
    assert "dora" not in gains([run for run in runs if not run.reference])


def test_a_gain_without_targets_compares_with_all_of_plain_lora():
    """A method that takes no targets is measured against plain LoRA wherever it was put."""
    runs = [scored(0.7, name="1"), scored(0.9, name="2", targets="mlp"),
            scored(0.75, name="3", method="prompt_tuning", targets="none", reference=False)]  # fmt: skip
    assert gains(runs)["prompt_tuning"].points == pytest.approx(-5)


def test_losses_at_starving_rates_say_so():
    """Published runs of some methods never left the bottom of their range of rates."""
    norm = all_methods()["ln_tuning"].learning_rate
    gain = measured_gain("ln_tuning")
    assert gain is not None
    assert gain.points < -40
    assert gain.starved(norm.low, norm.high)
    lora = all_methods()["hira"].learning_rate
    best = measured_gain("hira")
    assert best is not None
    assert not best.starved(lora.low, lora.high)


def test_the_published_gains_are_those_of_the_source():
    """The one run of HiRA against the two plain LoRA runs on the same targets, by hand from the published table."""
    gain = measured_gain("hira")
    assert gain is not None
    assert gain.runs == 1
    assert gain.points == pytest.approx(
        100 * (0.5132676269901441 - (0.47839272175890825 + 0.47384382107657316) / 2), abs=0.01
    )
    assert measured_gain("mora") is None
    assert len(published_runs()) >= 440


def test_models_that_disagree_make_a_gain_uncertain():
    """Adapters gain 16 points on one model and lose 2 on another: the mean over models is told with that spread."""
    gain = measured_gain("houlsby_adapter")
    assert gain is not None
    assert len(gain.models) == 4
    assert gain.noise > 3


def test_authors_do_not_vouch_for_their_own_method():
    """DoRA's own table is kept, and does not count as what others measured."""
    own = [run for run in published_runs() if run.interested and run.method == "dora"]
    assert len(own) >= 9
    gain = measured_gain("dora")
    assert gain is not None
    assert "meta-llama/Llama-3.2-3B" in gain.models
    assert not {run.model.name for run in own} & set(gain.models)
