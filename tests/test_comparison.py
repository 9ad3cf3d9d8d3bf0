"""A comparison tells better from chance by intervals, and does not compare what cannot be compared."""

from dataclasses import replace

import pytest
from numpy.random import default_rng

from autopeft.comparison import compare
from autopeft.errors import FileFormatError, InvalidValueError, StudyError
from autopeft.files import plain, to_json, write_text
from autopeft.finetune.outcomes import SCHEMA_VERSION, Evaluation, Inference, Trained
from autopeft.values.outcomes import Contender, Difference, Forgetting, Latency, Score, SearchResult
from tests.finetune.conftest import tuned_for
from tests.inspection.test_inspect import random_pair, write
from tests.report.folders import begin, complete, finish
from tests.toys import classification_csv

FAR = Score(metric="accuracy", value=0.9, low=0.85, high=0.94, level=0.95, rows=200)
NEAR = replace(FAR, value=0.8, low=0.75, high=0.84)
CLOSE = replace(FAR, value=0.88, low=0.83, high=0.92)


@pytest.fixture(scope="module")
def tuned(tiny_models, tmp_path_factory):
    source = classification_csv(tmp_path_factory.mktemp("data") / "toy.csv")
    return tuned_for(tiny_models["bert"], source, "classification")


@pytest.fixture
def saved(tuned, tmp_path):
    """Writes a config with a test score and returns its path."""

    def write(name, score):
        path = tmp_path / f"{name}.yaml"
        replace(tuned, provenance=replace(tuned.provenance, test=score)).save(path)
        return path

    return write


def test_better_beyond_chance_or_not(saved):
    """Far scores have a better one whichever comes first; close ones leave it to chance; a loss is better when low."""
    far, near, close = saved("far", FAR), saved("near", NEAR), saved("close", CLOSE)
    found = compare([far, near, close])
    by_pair = {(v.first, v.second): v for v in found.verdicts}
    assert by_pair[str(far), str(near)].better == str(far)
    assert by_pair[str(far), str(close)].better == ""
    assert compare([near, far]).verdicts[0].better == str(far)
    difference = by_pair[str(far), str(near)].difference
    assert difference is not None
    assert difference.value == pytest.approx(0.1)
    assert difference.low == pytest.approx(0.1 - (0.05**2 + 0.04**2) ** 0.5)
    assert difference.high == pytest.approx(0.1 + (0.04**2 + 0.05**2) ** 0.5)


def test_a_config_shows_what_it_would_take(tuned, saved, tmp_path):
    """What would train and the memory for it are estimated, more of both at a higher rank; none without its model."""
    larger = replace(tuned.candidate, parameters={**tuned.candidate.parameters, "rank": 8})
    replace(tuned, candidate=larger).save(tmp_path / "larger.yaml")
    replace(tuned, model=replace(tuned.model, source=str(tmp_path / "gone"))).save(tmp_path / "gone.yaml")
    one, two, gone = compare([saved("a", FAR), tmp_path / "larger.yaml", tmp_path / "gone.yaml"]).entries
    assert one.trainable_parameters is not None
    assert two.trainable_parameters is not None
    head = 2 * 48 + 2
    assert two.trainable_parameters - head == 2 * (one.trainable_parameters - head) > 0
    assert (two.estimated_bytes or 0) > (one.estimated_bytes or 0) > 0
    assert one.estimated_tokens == tuned.data.token_limit
    assert (gone.trainable_parameters, gone.estimated_bytes) == (None, None)


def test_a_lower_loss_is_better(tiny_models, tuned, saved, tmp_path):
    """For a metric that is a loss, the smaller value wins."""
    task = replace(tuned, model=replace(tuned.model, task="regression"))
    paths = []
    for name, score in (("high", FAR), ("low", NEAR)):
        paths.append(tmp_path / f"{name}.yaml")
        replace(task, provenance=replace(task.provenance, test=replace(score, metric="mae"))).save(paths[-1])
    assert compare(paths).verdicts[0].better == str(paths[1])


def test_other_metrics_and_other_rows_are_not_compared(saved):
    """Scores of another metric or of other rows get a reason instead of a verdict."""
    one, two, three = saved("a", FAR), saved("b", replace(NEAR, metric="mcc")), saved("c", replace(NEAR, rows=90))
    verdicts = compare([one, two, three]).verdicts
    assert all(verdict.difference is None and verdict.better == "" for verdict in verdicts)
    assert "metrics differ" in verdicts[0].because
    assert "test rows differ" in verdicts[1].because


def test_searches_and_runs_and_adapters(tuned, saved, tmp_path):
    """A search shows its winner beside its recipes, a run its cost, an adapter its size."""
    search = tmp_path / "search"
    tuned.save(search / "tuned.yaml")
    one = Contender(config=tuned.candidate, validation=FAR, test=FAR, tokens=10, seconds=5.0)
    small = Difference(value=0.02, low=0.01, high=0.03, level=0.95, distinguishable=True)
    result = SearchResult(
        winner=one, default_lora=replace(one, test=CLOSE), raced_lora=one, difference={"default_lora": small},
        references={}, trials={"completed": 2}, seconds=9.0, comparison_seconds=1.0, overhead_seconds=1.0, output="x",
    )  # fmt: skip
    write_text(search / "result.json", to_json(plain(result)))
    run = tmp_path / "run"
    tuned.save(run / "tuned.yaml")
    forgotten = Forgetting(measure="perplexity", before=20.0, after=21.0, change=1.0, rows=9, tokens=99)
    latency = Latency(attached_milliseconds=16.0, merged_milliseconds=8.0, rows=8, tokens=64)
    part = Evaluation(before=NEAR, after=FAR, metrics={"accuracy": 0.9})
    trained = Trained(
        schema_version=SCHEMA_VERSION, autopeft_version="0", validation=part, test=part, steps=3, kept_step=3,
        stopped_early=False, seconds=7.0, peak_bytes=2**20, prediction_seconds_per_row=0.001,
        trainable_parameters=1000, calibration=None, merged=False, output=str(run), adapter_bytes=4000,
        forgetting=forgotten, inference=Inference(
            base_milliseconds=2.0, latency=latency, base_peak_bytes=2**20, peak_bytes=2**21
        ),
    )  # fmt: skip
    write_text(run / "metrics.json", to_json(plain(trained)))
    adapter = tmp_path / "adapter"
    write(adapter, {(0, "q_proj"): random_pair(default_rng(0))})
    found = compare([search, run, adapter])
    assert [entry.kind for entry in found.entries] == ["search", "search", "search", "run", "adapter"]
    assert (found.entries[3].seconds, found.entries[3].peak_bytes) == (7.0, 2**20)
    assert (found.entries[3].forgetting, found.entries[3].latency) == (forgotten, latency)
    assert (found.entries[3].adapter_bytes, found.entries[3].inference_bytes) == (4000, 2**21)
    assert found.entries[4].adapter_bytes == (adapter / "adapter_model.safetensors").stat().st_size
    assert found.entries[4].trainable_parameters == 4 * (24 + 40)
    assert (found.entries[4].method, found.entries[4].settings) == ("LORA", "r 4, lora_alpha 8")
    assert len(found.verdicts) == 6
    paired, *others = found.verdicts  # what the search compared row by row is told as it was found there
    assert (paired.difference, paired.paired, paired.better) == (small, True, f"{search} (winner)")
    assert not any(verdict.paired or verdict.better for verdict in others)
    write_text(search / "result.json", to_json(plain(replace(result, raced_lora=None))))
    names = [entry.name for entry in compare([search, run]).entries]
    assert names == [f"{search} (winner)", f"{search} (default recipe)", str(run)], "what was left out is not compared"
    write_text(run / "metrics.json", to_json({**plain(trained), "schema_version": 9}))
    with pytest.raises(FileFormatError, match="must be 1; got 9"):
        compare([search, run])


def test_bad_paths(saved, tmp_path):
    """One path, the same twice, a missing one and an empty folder are one clear error each."""
    path = saved("a", FAR)
    with pytest.raises(InvalidValueError, match="two or more different"):
        compare([path])
    with pytest.raises(InvalidValueError, match="two or more different"):
        compare([path, path])
    with pytest.raises(FileFormatError, match="does not exist"):
        compare([path, tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match=r"holds no result\.json"):
        compare([path, tmp_path / "empty"])


def test_a_search_that_went_on_is_not_compared(tuned, saved, tmp_path):
    """Who won is not known any more once another trial has ended: the result that lies there is none."""
    study = begin(tmp_path / "search")
    best = complete(study, 0.9)
    tuned.save(tmp_path / "search" / "tuned.yaml")
    finish(tmp_path / "search", best.candidate, {})
    paths = [tmp_path / "search", saved("a", FAR)]
    assert compare(paths).entries[0].peak_bytes == best.peak_bytes
    complete(study, 0.95)
    with pytest.raises(StudyError, match=r"search holds a search that has gone on since it compared\.\nRun it"):
        compare(paths)
