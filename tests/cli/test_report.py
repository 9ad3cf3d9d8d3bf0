"""`autopeft report` as a person and as a program see it."""

import json

import pytest

from tests.report.folders import begin, complete, fail, finish, gap, stop


@pytest.fixture
def folder(tmp_path):
    study = begin(tmp_path / "run")
    best = complete(study, 0.9)
    stop(study, 2.5)
    fail(study, "diverged", "the loss became nan")
    finish(tmp_path / "run", best.candidate, {"default_lora": gap(0.1, 0.05)})
    return tmp_path / "run"


def test_the_document_has_the_facts(autopeft, folder):
    """One JSON document: where the report is, counts by status, best trials, fronts and the result."""
    found = autopeft("report", folder, "--json")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    assert told["report"] == str(folder / "report.html")
    assert told["trials"] == {"completed": 1, "pruned": 1, "diverged": 1}
    assert told["finished"] is True
    assert [best["score"] for best in told["best"]] == [0.9]
    assert set(told["front"]) == {"trainable_parameters", "seconds", "peak_bytes"}
    assert told["result"]["difference"]["default_lora"]["distinguishable"] is True
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_people_see_a_summary_and_the_file(autopeft, folder, tmp_path):
    """The summary names the best trial, the difference and the file, which --output moves."""
    found = autopeft("report", folder, "--output", tmp_path / "elsewhere.html")
    assert found.code == 0, found.err
    assert "The search is finished." in found.out
    assert "0.9000" in found.out
    assert "elsewhere.html" in found.out.replace("\n", "")  # a long path is wrapped
    assert (tmp_path / "elsewhere.html").exists()
    assert not (folder / "report.html").exists()


def test_a_folder_without_a_search_is_an_error_of_the_users(autopeft, tmp_path):
    """Exit code 2 and one clear sentence, no traceback."""
    found = autopeft("report", tmp_path)
    assert found.code == 2
    assert "holds no search" in found.err


def test_the_study_is_read_once(autopeft, folder, monkeypatch):
    """The page and the summary are of one reading: a search that runs meanwhile cannot make them differ."""
    monkeypatch.setattr("autopeft.report.page.read_story", lambda _: pytest.fail("the study was read again"))
    assert autopeft("report", folder).code == 0
    assert (folder / "report.html").exists()


@pytest.mark.parametrize("output", [".", "search.json/page.html"])
def test_a_page_that_cannot_be_written_is_an_error_of_the_users(autopeft, folder, output):
    """A folder, or what lies below a file: exit code 2 and one sentence."""
    found = autopeft("report", folder, "--output", folder / output)
    assert (found.code, found.out) == (2, "")
    assert "cannot be written" in found.err
