"""The order of candidates, what is refused and why, and that the same question has the same answer."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.errors import InvalidValueError, NothingFitsError
from autopeft.methods import Seed
from autopeft.recommend import recommend
from autopeft.recommend.budget import parse_budget
from autopeft.recommend.suggest import Profiles, recommend_for
from autopeft.values.candidates import Constraints
from tests.recommend.settings import GIB, SMALL, decoder, hardware, method, task

THREE_BILLION = decoder()
SEEDS = tuple(
    Seed(parameters={"rank": rank}, learning_rate=1e-3, source="made by hand", targets=targets)
    for rank, targets in ((8, "all-linear"), (16, "qv"))
)
PLAIN = method(name="plain", seeds=SEEDS)
TWIN = method(name="twin", seeds=SEEDS)
INSERTED = method("adapter", name="inserted", adds_latency=True, mergeable=False, quantized_base=False)
EVERYTHING = method(
    "full", name="everything", changes_base=True, quantized_base=False, takes_targets=False, takes_layers=False,
    trainable=lambda s: s.model.parameters - s.model.head_parameters,
)  # fmt: skip
FINE_TUNED_LABELS_ONLY = method(name="labels_only", tasks=("classification",))


@pytest.fixture
def catalogue(monkeypatch):
    """Puts hand-made methods in place of the catalogue."""

    def use(*methods):
        found = {m.name: m for m in sorted(methods, key=lambda m: m.name)}
        monkeypatch.setattr("autopeft.methods.all_methods", lambda: found)
        monkeypatch.setattr("autopeft.recommend.recommender.all_methods", lambda: found)

    return use


def test_the_top_shows_different_methods(catalogue):
    """The best configuration of each method comes before the second best of any."""
    catalogue(PLAIN, TWIN, INSERTED)
    found = recommend(hardware(), SMALL, task()).candidates
    assert [s.candidate.method for s in found[:3]] == ["plain", "twin", "inserted"]
    assert found[0].score >= found[1].score >= found[2].score


def test_the_same_question_has_the_same_answer(catalogue):
    """A recommendation depends on its arguments alone."""
    catalogue(PLAIN, TWIN)
    assert recommend(hardware(), SMALL, task()) == recommend(hardware(), SMALL, task())


def test_a_cpu_trains_the_models_own_weights_in_full_precision(catalogue):
    """A dtype that was measured to be faster serves what is added to a model; its own weights would lose updates."""
    catalogue(PLAIN, EVERYTHING)
    slow = hardware(kind="cpu")
    dtypes = {s.candidate.method: s.candidate.dtype for s in recommend(slow, SMALL, task(), traced=0).candidates}
    assert dtypes == {"plain": "bfloat16", "everything": "float32"}
    on_card = recommend(hardware(), SMALL, task(), traced=0).candidates
    assert {s.candidate.dtype for s in on_card} == {"bfloat16"}


def test_no_device_trains_the_models_own_weights_in_float16(catalogue):
    """No gradient scaler takes weights of float16: cards that know no bfloat16 get them in float32."""
    catalogue(PLAIN, EVERYTHING)
    old = hardware(dtype="float16")
    dtypes = {s.candidate.method: s.candidate.dtype for s in recommend(old, SMALL, task(), traced=0).candidates}
    assert dtypes == {"plain": "float16", "everything": "float32"}


def test_scores_are_the_sums_of_their_reasons(catalogue):
    """Nothing but rules moves a score."""
    catalogue(PLAIN, INSERTED)
    for suggestion in recommend(hardware(), SMALL, task()).candidates:
        assert suggestion.score == sum(reason.weight for reason in suggestion.reasons)


def test_quantization_is_the_gentlest_that_fits(catalogue):
    """With room the base keeps its dtype; with less it is quantized, to more bits before fewer."""
    catalogue(PLAIN)
    schemes = [
        recommend(hardware(memory=memory * GIB), THREE_BILLION, task("generation", tokens=64)).candidates[0]
        for memory in (40, 6.2, 4.8)
    ]
    assert [s.candidate.quantization for s in schemes] == ["none", "int8", "nf4"]


def test_old_cards_get_no_8_bit_products(catalogue):
    """Below compute capability 7.5 the base goes to 4 bits at once."""
    catalogue(PLAIN)
    card = hardware(memory=6 * GIB)
    old = replace(card, devices=(replace(card.devices[0], compute_capability="7.0"),))
    found = recommend(old, THREE_BILLION, task("generation", tokens=64))
    assert {s.candidate.quantization for s in found.candidates} == {"nf4"}


def test_what_fits_fits(catalogue):
    """No candidate that is said to fit is estimated above the memory that may be used."""
    catalogue(PLAIN, EVERYTHING)
    for memory in (8, 24, 80):
        found = recommend(hardware(memory=memory * GIB), THREE_BILLION, task("generation"))
        for suggestion in found.candidates:
            assert suggestion.fits == (suggestion.estimate.memory.total_bytes <= 0.9 * memory * GIB)


def test_a_users_limit_is_kept_to_the_byte(catalogue):
    """A limit on memory replaces the device's own, without the room that is left on a device."""
    catalogue(PLAIN)
    least = recommend(hardware(), SMALL, task()).candidates[0].estimate.memory.total_bytes
    exact = recommend(hardware(), SMALL, task(), Constraints(memory_bytes=least))
    assert exact.candidates[0].fits
    assert exact.candidates[0].estimate.memory.total_bytes <= least


def test_what_does_not_fit_is_said_with_what_it_lacks(catalogue):
    """A method too large is left out with the bytes it lacks and a card that would do; the others stay."""
    catalogue(PLAIN, EVERYTHING)
    found = recommend(hardware(memory=24 * GIB), THREE_BILLION, task("generation"))
    (rejection,) = found.rejected
    assert rejection.method == "everything"
    assert rejection.lacking_bytes > 10 * GIB
    assert "a card with" in rejection.remedy
    assert "full" not in {s.candidate.method for s in found.candidates}


def test_nothing_fits_lists_every_method(catalogue):
    """When no method fits, the error names each, what it lacks in GiB, and what would make it fit."""
    catalogue(PLAIN, EVERYTHING)
    with pytest.raises(
        NothingFitsError, match=r"(?s)plain: lacks .* GiB.*everything: lacks .* GiB.*a card with"
    ) as error:
        recommend(hardware(memory=2 * GIB), THREE_BILLION, task("generation"))
    assert error.value.exit_code == 3


def test_the_card_named_as_remedy_is_enough(catalogue):
    """On the card that the remedy names, the method fits."""
    catalogue(EVERYTHING)
    with pytest.raises(NothingFitsError, match="a card with") as error:
        recommend(hardware(memory=24 * GIB), THREE_BILLION, task("generation"))
    named = int(str(error.value).split("a card with ")[1].split(" GiB")[0])
    assert recommend(hardware(memory=named * GIB), THREE_BILLION, task("generation")).candidates[0].fits


def test_violations_keep_a_method_out(catalogue):
    """A method that cannot apply is left out with its own reasons, before anything is estimated."""
    catalogue(PLAIN, method(name="refuses", violations=("It finds no bias to train.",)))
    (rejection,) = recommend(hardware(), SMALL, task()).rejected
    assert rejection.because == ("It finds no bias to train.",)
    assert rejection.lacking_bytes == 0


def test_tasks_a_method_cannot_train_are_refused(catalogue):
    """A method is proposed for the task types it declares and no other."""
    catalogue(PLAIN, FINE_TUNED_LABELS_ONLY)
    assert not recommend(hardware(), SMALL, task()).rejected
    (rejection,) = recommend(hardware(), SMALL, task("generation")).rejected
    assert rejection.because == ("It does not train generation.",)


def test_latency_can_be_refused(catalogue):
    """Mergeable only: what slows inference is left out."""
    catalogue(PLAIN, INSERTED)
    found = recommend(hardware(), SMALL, task(), Constraints(mergeable_only=True))
    assert {s.candidate.method for s in found.candidates} == {"plain"}
    assert [r.method for r in found.rejected] == ["inserted"]


def test_trained_parameters_can_be_limited(catalogue):
    """Candidates shrink until they train no more than is allowed; a method that cannot is left out."""
    catalogue(PLAIN, EVERYTHING)
    found = recommend(hardware(), SMALL, task(), Constraints(max_trainable=3000))
    assert found.candidates
    assert all(s.estimate.trainable_parameters <= 3000 for s in found.candidates)
    assert [r.method for r in found.rejected] == ["everything"]


def test_shrinking_never_breaks_a_methods_own_rules(catalogue):
    """A candidate is lowered only to what the method allows; where that is too much, the limit is the reason."""

    def even_only(setup):
        return () if setup.candidate.parameters["rank"] % 4 == 0 else ("The rank must be a multiple of 4.",)

    catalogue(PLAIN, replace(PLAIN, name="choosy", violations=even_only))
    (rejection,) = recommend(hardware(), SMALL, task(), Constraints(max_trainable=600)).rejected
    assert rejection.method == "choosy"
    assert "parameters; 600 are allowed" in rejection.because[0]


def test_methods_can_be_named_and_excluded(catalogue):
    """Only named methods are proposed, and excluded ones never."""
    catalogue(PLAIN, TWIN, INSERTED)
    found = recommend(hardware(), SMALL, task(), Constraints(methods=("plain", "twin"), exclude=("twin",)))
    assert {s.candidate.method for s in found.candidates} == {"plain"}


@pytest.mark.parametrize(
    ("key", "wrong"),
    [("methods", Constraints(methods=("plian",))), ("exclude", Constraints(exclude=("plian",)))],
)
def test_unknown_methods_get_a_close_match(catalogue, key, wrong):
    """A name that is not in the catalogue is an error that offers the nearest one."""
    catalogue(PLAIN)
    with pytest.raises(InvalidValueError, match=rf"(?s)`{key}` of the constraints .*Did you mean 'plain'"):
        recommend(hardware(), SMALL, task(), wrong)


def test_checkpointing_comes_with_need_alone(catalogue):
    """Activations are recomputed when they do not fit, never where the method refuses it."""
    refuses = method(name="refuses", gradient_checkpointing=False, quantized_base=False)
    catalogue(PLAIN, refuses)
    roomy = recommend(hardware(memory=80 * GIB), THREE_BILLION, task("generation", tokens=512))
    tight = recommend(hardware(memory=16 * GIB), THREE_BILLION, task("generation", tokens=512))
    assert not any(s.candidate.gradient_checkpointing for s in roomy.candidates)
    assert {s.candidate.gradient_checkpointing for s in tight.candidates if s.candidate.method == "plain"} == {True}
    assert not any(s.candidate.gradient_checkpointing for s in tight.candidates if s.candidate.method == "refuses")


def test_batches_multiply_to_the_effective_batch(catalogue):
    """Micro-batches shrink to fit and accumulation makes up for it; few rows make small batches."""
    catalogue(PLAIN)
    for memory in (8, 16, 80):
        for suggestion in recommend(hardware(memory=memory * GIB), THREE_BILLION, task("generation")).candidates:
            assert suggestion.candidate.batch_size * suggestion.candidate.accumulation == 16
    few = recommend(hardware(), SMALL, task(rows=10)).candidates[0].candidate
    assert few.batch_size * few.accumulation == 8


def test_rates_follow_the_rules_within_the_methods_range(catalogue):
    """A short run takes the seed's rate times 1.5, but never leaves the method's range."""
    catalogue(PLAIN)
    assert recommend(hardware(), SMALL, task(rows=100)).candidates[0].candidate.learning_rate == pytest.approx(1.5e-3)
    narrow = method(name="narrow", seeds=(replace(SEEDS[0], learning_rate=0.9),))
    catalogue(narrow)
    assert recommend(hardware(), SMALL, task(rows=100)).candidates[0].candidate.learning_rate == 1.0


def test_many_texts_get_a_candidate_of_a_higher_rank(catalogue):
    """The first seed comes with rank 32 and the same scaling where there are many texts, and leads its method there."""
    seed = Seed(parameters={"rank": 8, "alpha": 16}, learning_rate=1e-3, source="made by hand")
    catalogue(method(name="plain", seeds=(seed,)))
    many, few = (recommend(hardware(), SMALL, task("generation", rows=rows), traced=0) for rows in (50_000, 5000))
    assert dict(many.candidates[0].candidate.parameters) == {"rank": 32, "alpha": 64}
    assert all(dict(s.candidate.parameters) == {"rank": 8, "alpha": 16} for s in few.candidates)
    labels = recommend(hardware(), SMALL, task(rows=50_000), traced=0).candidates
    assert all(s.candidate.parameters["rank"] == 8 for s in labels)


def test_a_rate_says_where_it_comes_from(catalogue):
    """Seed, factors with their rules, and the seed's source, traced or not."""
    catalogue(PLAIN)
    for suggestion in recommend(hardware(), SMALL, task(rows=100), traced=1).candidates:
        (reason,) = (r for r in suggestion.reasons if r.rule == "learning-rate")
        assert reason.because == "The rate is the seed's 0.001, times 1.5 (short-runs-want-higher-rates): 0.0015."
        assert (reason.source, reason.weight) == ("made by hand", 0.0)


@settings(max_examples=40, deadline=None)
@given(share=st.integers(1, 100), total=st.integers(1000, 10**11))
def test_a_share_is_a_share(share, total):
    """A percentage is one of all parameters, and a count is itself."""
    assert parse_budget(f"{share}%", total) == int(share / 100 * total)
    assert parse_budget(str(total), 1) == total


@pytest.mark.parametrize(
    ("text", "count"), [("5M", 5_000_000), ("1.5m", 1_500_000), ("500k", 500_000), ("2B", 2 * 10**9)]
)
def test_counts_take_units(text, count):
    """Budgets are written with k, M and B."""
    assert parse_budget(text, 1) == count


@pytest.mark.parametrize("text", ["", "none", "5 MB", "-1", "0", "0%", "101%", "1e6"])
def test_other_budgets_are_refused(text):
    """What is no count and no share gets an error that shows both forms."""
    with pytest.raises(InvalidValueError, match="5M or a share such as 1%"):
        parse_budget(text, 10**6)


def test_what_was_noted_of_the_model_is_among_the_notes(catalogue, monkeypatch):
    """What had to be assumed of a model is said with what was assumed of the device and the data."""
    catalogue(PLAIN)
    monkeypatch.setenv("AUTOPEFT_EVIDENCE", "off")
    model = replace(SMALL, notes=("Its experts are counted as one.",))
    found = recommend_for(Profiles(hardware=hardware(), model=model, task=task()), Constraints())
    assert "Its experts are counted as one." in found.notes
