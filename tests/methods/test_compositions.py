"""Two methods together: both take effect, both train, and two that collide say so."""

from dataclasses import replace

import pytest

from autopeft.errors import InvalidValueError, ModelError
from autopeft.methods import get_method
from autopeft.methods._composition import collisions, compose
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached, logits, train, trainable_names
from autopeft.testing.cases import altered, make_case


def case_of(name, tiny_models, architecture="bert", task="classification"):
    return make_case(get_method(name), architecture, task, tiny_models[architecture], read_model)


def composed(first, second):
    """A composition that nothing but its violations is asked of."""
    one, two = get_method(first), get_method(second)
    like = get_method("lora_prefix")
    return compose(
        one, two, name="both", title="Both", paper=like.paper, summary="Both.", learning_rate=like.learning_rate,
        seeds=like.seeds,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parts"), [("lora_prefix", ("lora_A", "lora_B", "prompt_encoder")),
                        ("adapter_prompt", ("adapter.down", "adapter.up", "prompt_encoder"))]
)  # fmt: skip
def test_both_parts_train_and_the_head_once(name, parts, tiny_models):
    """Each part's parameters are trainable, and one copy of the head: none is frozen by the other's attaching."""
    method, case = get_method(name), case_of(name, tiny_models)
    names = trainable_names(attached(method, case))
    for part in parts:
        assert any(part in trained for trained in names), part
    head = [trained for trained in names if "classifier" in trained]
    assert len(head) == 2
    assert {trained.rpartition(".")[2] for trained in head} == {"weight", "bias"}


def test_a_composition_is_its_parts(tiny_models):
    """Its parameters and its count are the parts' together; targets and layers are the first one's."""
    method, case = get_method("lora_prefix"), case_of("lora_prefix", tiny_models)
    lora, prefix = get_method("lora"), get_method("prefix_tuning")
    assert set(method.legal) == set(lora.legal) | set(prefix.legal)
    alone = [case_of(name, tiny_models).setup for name in ("lora", "prefix_tuning")]
    tokens = case.setup.candidate.parameters["virtual_tokens"]
    prefixed = replace(alone[1], candidate=replace(alone[1].candidate, parameters={"virtual_tokens": tokens}))
    assert method.trainable(case.setup) == lora.trainable(alone[0]) + prefix.trainable(prefixed)
    fewer = altered(case, "qv", targets="qv", layers="last:1").setup
    assert method.trainable(fewer) < method.trainable(case.setup)


@pytest.mark.parametrize(
    ("first", "second", "because"),
    [
        ("prefix_tuning", "prompt_tuning", "each puts something before the input"),
        ("lora", "dora", "the second must stand before the input"),
        ("prompt_tuning", "lora", "the second must stand before the input"),
        ("full", "prompt_tuning", "one trains the base's weights"),
        ("pissa", "prefix_tuning", "one trains the base's weights"),
        ("adalora", "prompt_tuning", "adalora has steps of its own"),
        ("p_tuning", "prompt_tuning", "both have a parameter `virtual_tokens`"),
    ],
)
def test_methods_that_collide_say_so_before_a_weight_is_loaded(first, second, because, tiny_models):
    """The violation names both methods and what they quarrel over, and nothing is attached."""
    method = composed(first, second)
    assert any(because in sentence for sentence in collisions(get_method(first), get_method(second)))
    setup = case_of("lora_prefix", tiny_models).setup
    assert any(because in sentence for sentence in method.violations(setup))
    with pytest.raises(InvalidValueError, match="collide"):
        method.apply(None, setup)


def test_what_one_part_cannot_do_they_cannot_together(tiny_models):
    """A prompt cannot stand before a decoder's classification, so neither can adapters with a prompt."""
    case = case_of("adapter_prompt", tiny_models, "llama", "classification")
    assert "behind a prompt" in get_method("adapter_prompt").violations(case.setup)[0]
    too_long = altered(case_of("lora_prefix", tiny_models), "long", parameters={"virtual_tokens": 500})
    assert any("`virtual_tokens` is 500" in s for s in get_method("lora_prefix").violations(too_long.setup))


def test_a_composition_is_not_loaded_from_a_part(tiny_models, tmp_path):
    """What was saved by one of the methods is refused by both together."""
    case = case_of("adapter_prompt", tiny_models)
    alone = get_method("pfeiffer_adapter")
    alone.save(attached(alone, case_of("pfeiffer_adapter", tiny_models)), tmp_path)
    with pytest.raises(ModelError, match=r"`method` of .* must be 'adapter_prompt'"):
        get_method("adapter_prompt").load(case.build(), case.setup, tmp_path)


def test_training_moves_both_parts(tiny_models):
    """After a step each part alone accounts for a change of the output."""
    method, case = get_method("lora_prefix"), case_of("lora_prefix", tiny_models)
    model = attached(method, case)
    train(method, model, case)
    whole = logits(model, case)
    for part in ("lora_B", "prompt_encoder"):
        kept = [(p, p.detach().clone()) for n, p in model.named_parameters() if part in n]
        assert kept
        for parameter, _ in kept:
            parameter.data.zero_()
        assert (logits(model, case) - whole).abs().max() > 1e-6
        for parameter, value in kept:
            parameter.data.copy_(value)
