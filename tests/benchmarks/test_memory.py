"""The memory benchmark's grid and its summary."""

import json

from autopeft.methods import all_methods
from benchmarks._memory_cases import ARCHITECTURES, cases
from benchmarks.memory import summary


def test_the_grid_has_every_method_and_architecture():
    """Sixty cases and more, on a CPU and on a GPU."""
    for cuda in (False, True):
        grid = list(cases(sorted(all_methods()), cuda=cuda))
        assert len({case.name for case in grid}) >= 60
        assert {case.method for case in grid} == set(all_methods())
        assert {case.architecture for case in grid} == set(ARCHITECTURES)
        assert any(case.tokens == 8192 for case in grid) is cuda


def test_a_case_that_ran_out_of_memory_counts(tmp_path, capsys):
    """Such a row is no failure of the benchmark: it says whether the estimate had promised that it fits."""
    compared = {"case": "a", "measure": "m", "predicted_allocated": 99, "measured_allocated": 100, "notes": []}
    full = [{"case": name, "out_of_memory": True, "said_to_fit": said} for name, said in (("b", True), ("c", False))]
    rows = [{**compared, "allocated_error": -0.01}, *full, {"case": "d", "skipped": "refused"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary(path)
    printed = capsys.readouterr().out
    assert "1 cases compared (m), 1 skipped" in printed
    assert "2 ran out of memory, 1 of them said to fit" in printed
