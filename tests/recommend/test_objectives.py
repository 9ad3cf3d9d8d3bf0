"""Several objectives: weighed, or as the set that nothing beats; and servers as a constraint."""

from dataclasses import replace

import pytest

from autopeft.errors import InvalidValueError
from autopeft.fronts import dominates
from autopeft.methods import all_methods, get_method
from autopeft.recommend import recommend
from autopeft.recommend.objectives import OBJECTIVES, forgetting, parse_objectives, preferred
from autopeft.recommend.serving import SERVERS, check_server, served
from autopeft.recommend.suggest import Profiles, recommend_for
from autopeft.values.candidates import Constraints
from tests.recommend.settings import SMALL, hardware, task


@pytest.fixture(scope="module")
def found():
    return recommend(hardware(), SMALL, task(), traced=0)


def memory(suggestion):
    return suggestion.estimate.memory.total_bytes


def test_the_set_holds_what_nothing_beats(found):
    """Nothing on the front is beaten in all objectives by another, all else is, and the front comes first."""
    ordered = preferred(found, parse_objectives("quality,memory")).candidates
    members = [s for s in ordered if s.on_front]
    assert 1 < len(members) < len(ordered)
    assert [s.on_front for s in ordered[: len(members)]] == [True] * len(members)
    costs = {id(s): (-s.score, memory(s)) for s in ordered}
    for suggestion in ordered:
        beaten = any(dominates(costs[id(other)], costs[id(suggestion)]) for other in ordered)
        assert beaten is not suggestion.on_front


def test_weights_move_the_order_and_the_extremes_are_the_objectives_alone(found):
    """Nearly all weight on one objective orders by it; quality alone is the order by score."""
    light = preferred(found, parse_objectives("quality=0.001,memory=1")).candidates
    assert memory(light[0]) == min(memory(s) for s in found.candidates)
    good = preferred(found, parse_objectives("quality=1")).candidates
    assert [s.score for s in good] == sorted((s.score for s in good), reverse=True)
    between = preferred(found, parse_objectives("quality=1,memory=0.3")).candidates
    assert memory(light[0]) <= memory(between[0])
    assert {repr(s.candidate) for s in between} == {repr(s.candidate) for s in found.candidates}


def test_every_objective_can_be_asked_for(found):
    """Memory, time, size, latency and forgetting each put a candidate first that is best in it."""
    for name in OBJECTIVES:
        assert preferred(found, parse_objectives(f"{name}=1")).candidates[0].fits
    fast = preferred(found, parse_objectives("latency=1")).candidates
    slow = [get_method(s.candidate.method).capabilities.adds_latency for s in fast]
    assert slow == sorted(slow)
    assert True in slow
    small = preferred(found, parse_objectives("size=1")).candidates
    assert small[0].estimate.trainable_parameters == min(s.estimate.trainable_parameters for s in small)


def test_time_is_that_of_the_same_rows(found):
    """A step of twice the rows that takes less than twice as long is the faster: the run is of the same rows."""
    one = found.candidates[0]
    small, large = (
        replace(
            one,
            candidate=replace(one.candidate, batch_size=rows, accumulation=2),
            estimate=replace(one.estimate, step_seconds=seconds),
        )
        for rows, seconds in ((8, 1.0), (16, 1.5))
    )
    ordered = preferred(replace(found, candidates=(small, large)), parse_objectives("time=1")).candidates
    assert ordered == (large, small)


def test_what_does_not_fit_stays_last(found):
    """No objective brings forward what the memory does not hold."""
    first = replace(found.candidates[0], fits=False)
    ordered = preferred(replace(found, candidates=(first, *found.candidates[1:])), parse_objectives("quality=1"))
    assert ordered.candidates[-1] == first


def test_forgetting_is_measured_or_drawn_from_kin():
    """A method that forgot much is expected to, and one without runs gets its family's."""
    assert forgetting("prefix_tuning") > forgetting("oft")
    kin = [name for name in all_methods() if get_method(name).family == "adapter"]
    assert len({forgetting(name) for name in kin}) == 1 < len(kin)


def test_a_speed_that_is_not_known_cannot_be_weighed():
    """Without the device's throughput there is no time to ask for."""
    unknown = recommend(hardware(throughput=False), SMALL, task(), Constraints(methods=("lora", "ia3")), traced=0)
    with pytest.raises(InvalidValueError, match="without time on a device whose speed is not known"):
        preferred(unknown, parse_objectives("quality=1,time=1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qualty", "Did you mean 'quality'"),
        ("quality,memory=2", "a weight for every name, or for none"),
        ("quality=1,memory=0", "weights above 0"),
        ("quality=1,memory=much", "weights above 0"),
        ("quality,quality", "each name once"),
    ],
)
def test_wrong_objectives_are_named(text, message):
    """Each mistake is said with what was expected."""
    with pytest.raises(InvalidValueError, match=message):
        parse_objectives(text)


def test_a_server_is_a_constraint():
    """What a server neither loads nor gets merged is left out with the reason; transformers takes everything."""
    profiles = Profiles(hardware=hardware(), model=SMALL, task=task())
    names = ("lora", "dora", "prefix_tuning")
    served_by = recommend_for(profiles, Constraints(methods=names, server="vllm"))
    assert {s.candidate.method for s in served_by.candidates} == {"lora", "dora"}
    (left,) = served_by.rejected
    assert "vllm does not serve it" in left.because[0]
    with pytest.raises(InvalidValueError, match=r"(?s)`--serve` of the constraints .*Did you mean 'vllm'"):
        recommend_for(profiles, Constraints(server="vlm"))
    assert all(served(method, "transformers") == "as an adapter" for method in all_methods().values())
    assert (served(get_method("lora"), "vllm"), served(get_method("dora"), "vllm")) == ("as an adapter", "once merged")


def test_every_declared_server_can_be_asked_for():
    """The servers that methods declare are those that users may name."""
    declared = {server for method in all_methods().values() for server in method.capabilities.servers}
    assert declared == set(SERVERS) - {"transformers"}
    assert [check_server(name) for name in SERVERS] == list(SERVERS)
