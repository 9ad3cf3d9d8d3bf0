"""The page stands by itself, tells what the study holds, and is there for searches that went wrong too."""

import html.parser
import json
import os
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from autopeft.errors import StudyError
from autopeft.report import read_story, write_report
from autopeft.report.charts.timeline import lanes
from autopeft.report.front import COSTS
from autopeft.report.story import Attempt
from autopeft.report.words import gap_words
from autopeft.tuning.folder import OutputFolder
from autopeft.tuning.pareto import explained, search_front
from autopeft.tuning.proposal import proposal
from autopeft.tuning.study import TrialStudy
from autopeft.values.outcomes import Finalist, Forgetting, Latency
from tests.report.folders import STARTS, begin, complete, fail, finish, gap, score, stop

VOID = {"meta", "br", "hr", "img", "link", "input"}
SECTIONS = (
    "winner", "comparison", "progress", "pareto", "methods", "importances", "curves", "memory", "timeline", "trials"
)  # fmt: skip


class Checker(html.parser.HTMLParser):
    """Fails on a tag that is not closed in order, and gathers ids, addresses and text."""

    def __init__(self, page):
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.said: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [value for key, value in attrs if key in ("href", "src", "srcset", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)


def page_of(folder):
    return write_report(folder).read_text()


@pytest.fixture
def finished(tmp_path):
    study = begin(tmp_path / "run")
    best = complete(study, 0.9)
    complete(study, 0.8)
    stop(study, 2.5)
    study.spend(61.0)
    gaps = {"default_lora": gap(0.1, 0.05), "raced_lora": gap(0.01, 0.05)}
    finish(tmp_path / "run", best.candidate, gaps, ("Rows were cut at 64 tokens, <b>not</b> lost.",))
    return tmp_path / "run"


def test_a_baseline_that_was_left_out_is_not_drawn(finished):
    """The page of a search whose race diverged shows the winner and the other baseline."""
    path = finished / "result.json"
    told = json.loads(path.read_text())
    del told["difference"]["raced_lora"]
    path.write_text(json.dumps({**told, "raced_lora": None}))
    said = " ".join(Checker(page_of(finished)).said)
    assert "default LoRA" in said
    assert "raced LoRA" not in said


def test_the_page_asks_for_nothing_from_outside(finished):
    """No address but those within the page, no import in the style sheet, no script: it opens without a network."""
    page = page_of(finished)
    assert all(address.startswith("#") for address in Checker(page).addresses)
    assert not re.search(r"@import|url\(|<script|<link|https?://", page)


def test_every_section_is_there_and_linked(finished):
    """All sections stand in the page, well formed, and the links at its head lead to them."""
    found = Checker(page_of(finished))
    assert [key for key in found.ids if key != "notes"] == list(SECTIONS)
    assert set(found.addresses) == {f"#{key}" for key in SECTIONS}


def test_the_same_study_gives_the_same_bytes(finished):
    """Nothing in the page depends on the clock or on chance."""
    assert page_of(finished) == page_of(finished)


def test_what_the_user_wrote_is_text_not_markup(finished):
    """A note with a tag in it shows the tag."""
    assert "&lt;b&gt;not&lt;/b&gt; lost" in page_of(finished)


def test_a_difference_that_could_be_zero_is_called_so(finished):
    """The page says of each difference whether it is distinguishable from zero."""
    said = " ".join(Checker(page_of(finished)).said)
    assert re.search(r"default LoRA: \+0\.1000 \(95 % interval \+0\.0500 to \+0\.1500\), better\.", said)
    assert re.search(r"raced LoRA: \+0\.0100 .*not distinguishable from zero\.", said)


def test_several_objectives_have_a_front_and_a_ringed_knee(tmp_path):
    """Each cost that was measured has its panel with the knee ringed; the reason and what was forgotten are told."""
    study = begin(tmp_path)
    latency = Latency(attached_milliseconds=16.0, merged_milliseconds=None, rows=8, tokens=80)
    for value, change in ((0.9, 3.0), (0.89, -0.5)):
        after = Forgetting(measure="masked_lm_loss", before=2.0, after=2.0 + change, change=change, rows=9, tokens=90)
        complete(study, value, score_error=0.02, forgetting=after, latency=latency, adapter_bytes=2**20)
    found = search_front(study.outcomes(), ("quality", "forgetting"))
    chosen = found.preferred[0]
    finish(
        tmp_path, chosen.candidate, {"default_lora": gap(0.1, 0.05)}, winner_trial=chosen.number,
        objectives=found.objectives, pareto=found.points(1.0), knee=explained(chosen, found, "accuracy", 1.0),
    )  # fmt: skip
    page = page_of(tmp_path)
    said = " ".join(Checker(page).said)
    assert chosen.number == 1
    assert "its accuracy 0.8900 is 0.0100 from the best, trial 0" in said
    assert "forgetting -0.5 instead of +3" in said
    assert "masked LM loss on general text 2 before, 1.5 after (9 texts)" in said
    assert "1 (the knee)" in said
    assert page.count('class="ring"') == len(COSTS)


def test_where_an_estimate_comes_from_is_told(tmp_path):
    """The memory section counts what was traced and what was drafted by formula."""
    study = begin(tmp_path)
    complete(study, 0.9, estimated_bytes=2**30, estimated_by="trace")
    complete(study, 0.8, estimated_bytes=2**29, estimated_by="formula")
    said = " ".join(Checker(page_of(tmp_path)).said)
    assert "Median error 25% over 2 trials" in said
    assert "1 of the estimates are traced, 1 by formula" in said


def test_what_a_process_holds_besides_is_no_error_of_an_estimate(tmp_path):
    """On a CPU the interpreter and its libraries are in every peak, and in no estimate."""
    study = begin(tmp_path)
    files = OutputFolder(tmp_path)
    settings = files.settings()
    assert settings is not None
    files.begin(replace(settings, process_peaks=True))
    for number in range(3):
        complete(study, 0.9, estimated_bytes=2**28 * (number + 1), peak_bytes=2**30 + 2**28 * (number + 1))
    said = " ".join(Checker(page_of(tmp_path)).said)
    assert "What it holds besides a trial, 1 GiB by the middle of these trials, is added" in said
    assert "Median error 0% over 3 trials" in said


def test_who_was_trained_anew_is_told(tmp_path):
    """Where validation chose among several fresh trainings, the page says so, with their scores."""
    study = begin(tmp_path)
    first, second = complete(study, 0.82), complete(study, 0.81)
    made = tuple(
        Finalist(number=o.number, config=o.candidate, trial_score=o.score or 0.0, validation=score(value))
        for o, value in ((first, 0.79), (second, 0.8))
    )
    finish(tmp_path, second.candidate, {}, winner_trial=second.number, finalists=made)
    said = " ".join(Checker(page_of(tmp_path)).said)
    assert "over both trainings trial 1 scored best on validation, 0.8100 and 0.8000" in said
    assert "against trial 0 0.8200 and 0.7900" in said


def test_reporting_changes_nothing_in_the_study(finished):
    """Reading a folder leaves its study as it was."""
    before = [path.read_bytes() for path in sorted(finished.glob("*.*"))]
    write_report(finished, finished.parent / "elsewhere.html")
    assert [path.read_bytes() for path in sorted(finished.glob("*.*"))] == before


def test_a_folder_is_read_as_it_lies(tmp_path):
    """Braces in its name are no template, nothing is made beside its study, and neither has to be writable."""
    folder = tmp_path / "{a} run"
    complete(begin(folder), 0.9)
    (folder / ".study.lock").unlink(missing_ok=True)
    before = sorted(path.name for path in folder.iterdir())
    (folder / "study.db").chmod(0o444)
    folder.chmod(0o555)
    try:
        assert len(read_story(folder).ranked) == 1
        assert sorted(path.name for path in folder.iterdir()) == before
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize("lower", [True, False])
def test_better_and_worse_follow_the_metric(lower):
    """A falling perplexity is better, a falling accuracy worse."""
    word = "better." if lower else "worse."
    assert gap_words(gap(-1.0, 0.2), lower_is_better=lower).endswith(word)


def test_scores_of_a_falling_metric_are_shown_as_they_are(tmp_path):
    """Perplexity is stored negated, so that higher is better, and shown positive, the lowest as the best."""
    study = begin(tmp_path, "perplexity", "instruction")
    complete(study, -9.5)
    complete(study, -7.25)
    said = " ".join(Checker(page_of(tmp_path)).said)
    assert "best validation perplexity of the 2 that came to their end: 7.2500" in said
    assert "-7.25" not in said


def test_a_search_with_only_failures_has_a_report(tmp_path):
    """Where every trial failed the page says so and keeps each reason."""
    study = begin(tmp_path)
    fail(study, "out_of_memory", "tried to allocate 2 GiB")
    fail(study, "diverged", "the loss became nan")
    fail(study, "infeasible", "estimated to need 30 GiB")
    said = " ".join(Checker(page_of(tmp_path)).said)
    assert "No trial has come to its end, so there is no winner." in said
    for reason in ("tried to allocate 2 GiB", "the loss became nan", "estimated to need 30 GiB"):
        assert reason in said


def test_a_search_that_runs_has_a_report(tmp_path):
    """A trial without an outcome is shown as running; what ended before it counts."""
    study = begin(tmp_path)
    complete(study, 0.7)
    study.ask()
    story = read_story(tmp_path)
    assert [attempt.status for attempt in story.attempts] == ["completed", "running"]
    assert "a trial was running when this was written" in page_of(tmp_path)


@pytest.mark.parametrize("with_study", [True, False])
def test_a_search_without_a_trial_has_a_report(tmp_path, with_study):
    """Killed before its first trial, with or without a study file, a search still gives a page."""
    begin(tmp_path)
    if not with_study:
        (tmp_path / "study.db").unlink()
    assert "No trial has been tried yet." in page_of(tmp_path)
    assert (tmp_path / "study.db").exists() == with_study


def test_a_folder_without_a_search_is_refused(tmp_path):
    """The error names the folder and what is missing; nothing is written."""
    with pytest.raises(StudyError, match=r"holds no search: search\.json is not there"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_continued_trial_counts_once_and_has_two_stretches(tmp_path):
    """A trial that went on from a reading stands once among the outcomes, and twice in the timeline."""
    study = begin(tmp_path)
    earlier = stop(study, 1.5)
    trial, _ = study.ask_again(earlier)
    study.tell(trial, replace(earlier, number=trial.number, status="completed", score=0.8, continues=earlier.number))
    story = read_story(tmp_path)
    assert [outcome.number for outcome in story.outcomes] == [2]
    assert [(attempt.number, attempt.status) for attempt in story.attempts] == [(0, "pruned"), (2, "completed")]


def lanes_of(*stretches):
    """The lanes of stretches by start, each a worker with its times."""
    made = [
        Attempt(number=number, method="x", status="completed", start=start, end=end, worker=worker)
        for number, (worker, start, end) in enumerate(stretches)
    ]
    return [lane for lane, _ in lanes(made, 20.0)]


def test_each_worker_has_a_lane():
    """It keeps it though another one is free before; who comes after it has ended takes it over."""
    assert lanes_of(("a", 0.0, 4.0), ("b", 1.0, 3.0), ("a", 5.0, 9.0), ("b", 6.0, 7.0)) == [0, 1, 0, 1]
    assert lanes_of(("a", 0.0, 10.0), ("b", 1.0, 4.0), ("c", 4.0, 6.0), ("d", 10.0, None)) == [0, 1, 1, 0]


def test_what_one_worker_has_trained_at_once_has_lanes_of_its_own():
    """A cluster's tasks are asked for by one process."""
    assert lanes_of(("a", 0.0, 10.0), ("a", 1.0, 4.0), ("a", 4.0, 6.0), ("a", 10.0, 11.0)) == [0, 1, 1, 0]


def hours_later(folder, hours=2):
    """Moves all that a study has done so far into the past, as if the search had been left alone since."""
    with sqlite3.connect(folder / "study.db") as study:
        for moment in ("datetime_start", "datetime_complete"):
            study.execute(f"update trials set {moment} = datetime({moment}, '-{hours} hours')")


def test_the_pause_of_an_interrupted_search_is_left_out(tmp_path):
    """A trial that was open when its search was killed is settled the next day; nobody has worked on it until then."""
    study = begin(tmp_path)
    complete(study, 0.7)
    study.ask()
    hours_later(tmp_path)
    again = TrialStudy(tmp_path / "study.db", proposal(STARTS, depth=4), seed=0)
    assert again.recover(restarted=True) == 1
    complete(again, 0.8)
    story = read_story(tmp_path)
    assert [attempt.status for attempt in story.attempts] == ["completed", "worker_lost", "completed"]
    assert all(attempt.end is not None and attempt.end < 60 for attempt in story.attempts)
    assert len(story.resumed) == 1


def test_a_worker_that_is_lost_has_worked_until_then(tmp_path):
    """Where the search itself lives on, a trial is settled at once, and however long it ran is no pause."""
    study = begin(tmp_path)
    study.ask()
    hours_later(tmp_path)
    again = TrialStudy(tmp_path / "study.db", proposal(STARTS, depth=4), seed=0)
    assert again.lose(os.getpid(), "killed") == 1
    (attempt,) = read_story(tmp_path).attempts
    assert attempt.end == pytest.approx(2 * 3600, abs=60)


def test_a_search_that_went_on_is_told_without_its_old_result(finished):
    """Once another trial has ended, who won before is no longer who won: the comparison is still to be made."""
    assert read_story(finished).result is not None
    complete(TrialStudy(finished / "study.db", proposal(STARTS, depth=4), seed=0), 0.95)
    assert read_story(finished).result is None
    page = page_of(finished)
    assert "The comparison with the baselines has not been made yet" in page
    assert "The search is finished" not in page


def test_without_baselines_no_difference_is_drawn(tmp_path):
    """Where neither baseline came to its end there is nothing to subtract, and no empty chart of it."""
    study = begin(tmp_path)
    finish(tmp_path, complete(study, 0.9).candidate, {})
    page = page_of(tmp_path)
    assert "test accuracy" in page
    assert "difference in accuracy" not in page


def test_the_folder_is_named_where_it_is_the_one_one_stands_in(finished, monkeypatch):
    """``.`` has no name of its own."""
    monkeypatch.chdir(finished)
    assert "tuned.yaml in run." in write_report(Path()).read_text()


def test_a_page_that_cannot_be_written_is_one_error(finished, tmp_path):
    """A folder in its place, and a file where its folder should be, are named."""
    with pytest.raises(StudyError, match="run cannot be written: it is a folder"):
        write_report(finished, finished)
    with pytest.raises(StudyError, match=r"page\.html cannot be written: .*study\.db is no folder that may be written"):
        write_report(finished, finished / "study.db" / "page.html")
