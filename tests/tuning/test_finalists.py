"""The last few are trained anew, validation chooses among them, and the winner alone meets the test split."""

from dataclasses import replace

import pytest

from autopeft.errors import DivergedError, StudyError
from autopeft.tasks import Predictions
from autopeft.training.run import TrainingRun
from autopeft.training.scoring import predict
from autopeft.training.worker import Worker
from autopeft.tuning import contest as contest_module
from autopeft.tuning.compare import Comparison
from autopeft.tuning.contest import OwnContest, Rehearsal
from autopeft.tuning.finalists import best_of, finalists, hold_final
from autopeft.tuning.prepare import Request, prepare
from autopeft.values.candidates import Candidate, Constraints
from autopeft.values.plans import Plan
from tests.toys import classification_csv
from tests.tuning.test_pareto import trial


def test_who_validation_cannot_tell_from_the_first_is_trained_anew():
    """Within one standard error of the difference, at most three, and in a quarter of the search's seconds."""
    ranked = [trial(number, score, error=0.03) for number, score in enumerate((0.90, 0.88, 0.87, 0.865, 0.5))]
    numbers = [outcome.number for outcome in finalists(ranked, 1000.0)]
    assert numbers == [0, 1, 2], "the fourth is as near, and one too many"
    assert [o.number for o in finalists(ranked, 90.0)] == [0, 1], "thirty seconds of training do not fit into 22.5"
    assert [o.number for o in finalists(ranked, 10.0)] == [0], "the first is always trained"
    assert [o.number for o in finalists(ranked, 90.0, at_once=2)] == [0, 1, 2], "side by side they fit"
    sure = [trial(0, 0.90, error=0.001), trial(1, 0.88, error=0.001)]
    assert [o.number for o in finalists(sure, 1000.0)] == [0]


@pytest.fixture(scope="module")
def ready(tiny_models, tmp_path_factory):
    source = classification_csv(tmp_path_factory.mktemp("data") / "toy.csv", rows=160)
    constraints = Constraints(methods=("lora",))
    prepared = prepare(Request(model=str(tiny_models["bert"]), data=str(source), folds=1, constraints=constraints))
    return prepared, Worker(prepared.model, prepared.hardware, head_seed=0)


def comparison(ready, folder):
    prepared, worker = ready
    contest = OwnContest(
        worker, prepared.encoded, Plan(tokens=1500, seed=5), prepared.objective, seconds=60.0, racing_rows=16
    )
    return Comparison(contest, prepared.objective, 5, folder)


METHODS = [
    Candidate(method="lora", parameters={"rank": 4, "alpha": 8, "dropout": 0.0}, learning_rate=2e-2, batch_size=8),
    Candidate(method="full", targets="none", learning_rate=1e-3, batch_size=8),
    Candidate(
        method="adalora", parameters={"rank": 2, "initial_rank": 4, "alpha": 8, "dropout": 0.0}, learning_rate=1e-2,
        batch_size=8,
    ),
]  # fmt: skip


@pytest.mark.parametrize("candidate", METHODS, ids=lambda candidate: candidate.method)
def test_what_was_trained_meets_the_test_split_as_it_was(ready, tmp_path, candidate):
    """Put back from its folder, a finalist says on test what it would have said at once, also trained once more."""
    apart = comparison(ready, tmp_path / "apart")
    rehearsal = apart.rehearsed("finalist-0", candidate, seed=5)
    performance = apart.performed("winner-0", rehearsal, "finalist-0")
    at_once = comparison(ready, tmp_path / "once").single("winner", candidate)
    assert performance.test.losses == pytest.approx(at_once.test.losses, abs=1e-5)
    assert performance.validation == at_once.validation
    lost = comparison(ready, tmp_path / "lost")
    assert lost.performed("winner-0", rehearsal, "nowhere").test.losses == pytest.approx(at_once.test.losses, abs=1e-5)


def test_validation_chooses_and_the_test_split_is_touched_once(ready, tmp_path, monkeypatch):
    """Validation of both trainings chooses, the winner's test score alone is taken, and nothing stays behind."""
    made, asked, seeds = comparison(ready, tmp_path / "final"), [], []
    predict, rehearse = OwnContest._predict, OwnContest.rehearse

    def counted(self, run, candidate, *, test):
        asked.append(test)
        return predict(self, run, candidate, test=test)

    def told(self, candidate, seed, folder):
        seeds.append(seed)
        found: Rehearsal = rehearse(self, candidate, seed, folder)
        right = (
            found.validation.expected if candidate.learning_rate == 2e-3 else [1 - e for e in found.validation.expected]
        )
        return Rehearsal(
            **{**vars(found), "validation": type(found.validation)(**{**vars(found.validation), "predicted": right})}
        )

    monkeypatch.setattr(OwnContest, "_predict", counted)
    monkeypatch.setattr(OwnContest, "rehearse", told)
    trials = [
        trial(number, 0.9 - number / 100, candidate=Candidate(method="ia3", learning_rate=rate, batch_size=8))
        for number, rate in enumerate((1e-3, 2e-3, 3e-3))
    ]
    final = hold_final(made, trials, [], ready[0].objective, 7, 16)
    assert final.chosen.number == 1
    assert [finalist.number for finalist in final.finalists] == [0, 1, 2]
    assert [finalist.trial_score for finalist in final.finalists] == [0.9, 0.89, 0.88]
    assert seeds == [7, 8, 9], "each with a seed of its own"
    assert asked == [False, False, False, True]
    assert not [path for path in (tmp_path / "final").iterdir() if path.is_dir()]


@pytest.mark.parametrize(("trial_rows", "winner"), [(1, 1), (4, 0)])
def test_both_trainings_choose_each_by_its_rows(ready, trial_rows, winner):
    """A trial's score counts beside the fresh one, the more the more rows are behind it."""

    def rehearsed(number, score, right):
        said = Predictions(
            predicted=[1] * right + [0] * (4 - right), expected=[1] * 4, losses=[0.0] * 4, weights=[1.0] * 4
        )
        candidate = Candidate(method="ia3", learning_rate=1e-3)
        return trial(number, score), Rehearsal(candidate=candidate, validation=said, tokens=1, seconds=1.0, seed=1)

    both = [rehearsed(0, 0.9, 2), rehearsed(1, 0.6, 3)]
    assert best_of(both, ready[0].objective, trial_rows)[0].number == winner


def test_who_diverges_is_no_winner(ready, tmp_path, monkeypatch):
    """A finalist that diverges is left out, the reserve takes its place, and where all diverge the search says so."""
    made = comparison(ready, tmp_path / "final")
    backward = TrainingRun._backward
    monkeypatch.setattr(
        TrainingRun,
        "_backward",
        lambda self, *a: float("nan") if self.candidate.learning_rate > 1e-2 else backward(self, *a),
    )
    wild = trial(0, 0.9, candidate=Candidate(method="ia3", learning_rate=1e-1, batch_size=8))
    tame = trial(1, 0.8, candidate=Candidate(method="ia3", learning_rate=1e-3, batch_size=8))
    final = hold_final(made, [wild], [tame], ready[0].objective, 7, 16)
    assert (final.chosen.number, len(final.finalists)) == (1, 1)
    with pytest.raises(
        StudyError, match="Every completed trial diverged or ran out of memory when it was trained anew"
    ):
        hold_final(made, [wild], [wild], ready[0].objective, 7, 16)


def test_a_rate_without_a_loss_comes_last_in_its_race(ready, tmp_path, monkeypatch):
    """A rate whose held-out loss is no number is no rival, wherever it stood in the order of rates."""
    losses = iter([float("nan"), 0.5, 0.6, float("nan"), 0.4, 0.3])
    monkeypatch.setattr("autopeft.tuning.contest.held_out_loss", lambda *_, **__: next(losses))
    candidate = Candidate(method="ia3", learning_rate=1e-3, batch_size=8)
    raced = comparison(ready, tmp_path).raced("raced", candidate, (1e-4, 2e-4, 3e-4, 4e-4))
    assert raced.candidate.learning_rate == 3e-4
    assert next(losses, None) is None


def test_who_comes_second_wins_a_race_whose_first_diverges(ready, tmp_path, monkeypatch):
    """A rate that diverges in its last lap has lost the race to the next, and with nobody left there is no winner."""
    advance, wild = TrainingRun.advance, {2e-4}

    def advanced(self, share):
        if share == 1.0 and self.candidate.learning_rate in wild:
            raise DivergedError("no number")
        return advance(self, share)

    def won(folder):
        losses = iter([0.5, 0.4, 0.6, 0.7, 0.2, 0.3])
        monkeypatch.setattr("autopeft.tuning.contest.held_out_loss", lambda *_, **__: next(losses))
        candidate = Candidate(method="ia3", learning_rate=1e-3, batch_size=8)
        race = comparison(ready, tmp_path / folder).raced("raced", candidate, (1e-4, 2e-4, 3e-4, 4e-4))
        return race.candidate.learning_rate

    monkeypatch.setattr(TrainingRun, "advance", advanced)
    assert won("one is wild") == 1e-4
    wild.add(1e-4)
    with pytest.raises(DivergedError, match="no number"):
        won("both are wild")


def test_who_says_no_number_has_diverged(ready, tmp_path, monkeypatch):
    """A finalist whose held-out losses are no numbers is out, like one that diverged earlier, and leaves no weights."""

    def lost(*arguments, **options):
        said = predict(*arguments, **options)
        return replace(said, losses=[float("nan"), *said.losses[1:]])

    monkeypatch.setattr(contest_module, "predict", lost)
    candidate = Candidate(method="ia3", learning_rate=1e-3, batch_size=8)
    with pytest.raises(DivergedError, match="the loss on held-out rows is no number"):
        comparison(ready, tmp_path).rehearsed("finalist-0", candidate, seed=5)
    assert not (tmp_path / "finalist-0").exists()
