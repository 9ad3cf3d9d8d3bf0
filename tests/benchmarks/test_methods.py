"""The benchmark of all methods: equal tokens, the best of three rates, fresh seeds, and nothing run twice."""

import json

import pytest

from autopeft.errors import InvalidValueError, StudyError
from autopeft.methods import get_method
from autopeft.recommend.evidence import read_runs
from benchmarks import import_methods
from benchmarks import methods as benchmark
from tests.toys import classification_csv

NAMES = "lora,loftq,bitfit"


@pytest.fixture(scope="module")
def ran(tiny_models, tmp_path_factory):
    """(arguments, the file, its lines after a whole run, the table) on a tiny encoder, in four steps each."""
    folder = tmp_path_factory.mktemp("benchmark")
    data = classification_csv(folder / "toy.csv")
    path, page = folder / "runs.jsonl", folder / "table.md"
    arguments = ["--model", str(tiny_models["bert"]), "--data", str(data), "--steps", "4"]
    benchmark.main([str(path), "--table", str(page), "--methods", NAMES, *arguments])
    return arguments, path, [json.loads(line) for line in path.read_text().splitlines()], page.read_text()


def test_each_method_has_three_rates_and_three_fresh_seeds(ran):
    """One seed chooses among three rates, and the chosen one runs with seeds that no choice has seen."""
    rows = ran[2]
    for name in NAMES.split(","):
        own = [row for row in rows if row["method"] == name]
        rates = [row for row in own if row["stage"] == "rate"]
        finals = [row for row in own if row["stage"] == "final"]
        assert len({row["learning_rate"] for row in rates}) == len(rates) == 3
        best = min(rates, key=lambda row: row["validation_loss"])
        assert {row["learning_rate"] for row in finals} == {best["learning_rate"]}
        assert [row["seed"] for row in finals] == [1, 2, 3]
        assert {row["seed"] for row in rates} == {0}
        assert all(row["metrics"] is None for row in rates)
        assert all("accuracy" in row["metrics"] for row in finals)


def test_all_see_the_same_tokens(ran):
    """Runs are comparable by tokens, up to the rows of one batch; the quantized-only method runs on four bits."""
    rows = ran[2]
    assert len({row["setting"] for row in rows}) == 1
    budget = int(rows[0]["setting"].split()[-2])
    longest_batch = 16 * 32
    assert all(budget <= row["tokens"] < budget + longest_batch for row in rows)
    assert {row["method"] for row in rows if row["quantization"] == "nf4"} == {"loftq"}


def test_its_runs_become_evidence(ran, tiny_models, tmp_path):
    """Every run carries its exact candidate; plain LoRA at its best rate is what the others are compared with."""
    arguments, path, rows, _ = ran
    where = [*arguments[:4], "--steps", "4", "--device", "a CPU", "--output", str(tmp_path / "own.jsonl")]
    import_methods.main([str(path), *where])
    runs = read_runs(tmp_path / "own.jsonl")
    assert len(runs) == len(rows)
    assert {(run.quality.metric, run.setting.split(", ")[1]) for run in runs if run.quality} == {
        ("validation_loss", "rates"), ("accuracy", "final")
    }  # fmt: skip
    for run, row in zip(runs, rows, strict=True):
        assert (run.method, run.learning_rate, run.seed, run.tokens, run.quantization) == (
            row["method"], row["learning_rate"], row["seed"], row["tokens"], row["quantization"]
        )  # fmt: skip
        assert dict(run.parameters) == dict(get_method(row["method"]).seeds[0].parameters)
    final = {row["learning_rate"] for row in rows if (row["method"], row["stage"]) == ("lora", "final")}
    assert {(run.method, run.learning_rate) for run in runs if run.reference} == {("lora", rate) for rate in final}
    assert sum(run.reference for run in runs) == 4


def test_runs_that_would_be_others_now_are_refused(ran, tiny_models, tmp_path):
    """A rate that the benchmark does not run means other settings than are known, and is not guessed at."""
    arguments, _, rows, _ = ran
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps({**row, "learning_rate": row["learning_rate"] * 1.5}) + "\n" for row in rows))
    with pytest.raises(StudyError, match=r"lora at .* is not what the benchmark runs now"):
        import_methods.main([str(path), *arguments[:4], "--steps", "4", "--device", "a CPU", "--output", str(path)])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows if row["method"] != "lora"))
    with pytest.raises(StudyError, match="no finished run of lora"):
        import_methods.main([str(path), *arguments[:4], "--steps", "4", "--device", "a CPU", "--output", str(path)])


def test_what_is_there_is_not_run_again(ran, monkeypatch):
    """The same command runs nothing; one that was cut off while writing runs what was lost, and nothing else."""
    arguments, path, rows, _ = ran
    run, seen = benchmark.Bench.run, []

    def counted(self, *given):
        seen.append(given)
        return run(self, *given)

    monkeypatch.setattr(benchmark.Bench, "run", counted)
    benchmark.main([str(path), "--methods", NAMES, *arguments])
    assert seen == []
    text = path.read_text()
    path.write_text(text[: text[:-1].rfind("\n") + 40])
    benchmark.main([str(path), "--methods", NAMES, *arguments])
    assert [(candidate.method, stage, seed) for candidate, stage, seed in seen] == [("bitfit", "final", 3)]
    again = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["method"], row["validation_loss"]) for row in again] == [
        (row["method"], row["validation_loss"]) for row in rows
    ]


def test_runs_of_another_setting_are_not_mixed_in(ran):
    """A file of other tokens, another model or other data is refused, not continued."""
    arguments, path, *_ = ran
    with pytest.raises(StudyError, match="another setting"):
        benchmark.main([str(path), "--methods", "lora", *arguments[:-1], "5"])


def test_an_unknown_method_is_named(ran):
    """A misspelt filter is an error, not an empty run."""
    with pytest.raises(InvalidValueError, match="Did you mean 'lora'"):
        benchmark.main([str(ran[1]), "--methods", "loar", *ran[0]])


def test_the_table_has_a_line_for_each_method_the_best_first(ran):
    """Means, their range and the rate stand beside what was trained; a method that cannot work has its reason."""
    head, _, below = ran[3].partition("\n|")
    assert head.startswith("# Every method")
    lines = f"|{below}".splitlines()
    assert len(lines) == 2 + 3
    assert "test accuracy" in lines[0]
    assert any(line.startswith("| loftq, nf4 | initialization |") for line in lines)
    means = [float(line.split("|")[5].split()[0]) for line in lines[2:]]
    assert means == sorted(means, reverse=True)
    assert "biases" in benchmark.table(
        [
            benchmark.Row(
                setting="",
                method="bitfit",
                stage="rate",
                seed=0,
                learning_rate=0.0,
                status="refused",
                reason="no biases",
            )
        ]
    )
