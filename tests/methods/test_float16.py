"""On cards without bfloat16 a base is float16: what trains is float32 there, and no weights of its own train."""

from dataclasses import replace

import pytest
import torch

from autopeft.errors import InvalidValueError
from autopeft.methods import all_methods, get_method
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attach, difference, logits
from autopeft.testing.cases import Case, altered, cases, make_case

FIRST = ("bert-classification", "llama-generation")
TRAINED_COPIES = ("lora", "ln_tuning", "krona", "pfeiffer_adapter", "prompt_tuning")


def halved(case: Case) -> Case:
    """The case as a worker has it on such a card: loaded in float16."""
    return replace(altered(case, "float16", dtype="float16"), build=lambda: case.build().to(torch.float16))


@pytest.fixture(scope="module")
def places(tiny_models):
    """Method's name → its first case, for those that work on a base that is not quantized."""
    found = {}
    for name, method in all_methods().items():
        if not method.capabilities.needs_quantized:
            found[name] = cases(method, tiny_models, read_model)[0]
    return found


@pytest.mark.parametrize("name", [n for n, m in all_methods().items() if not m.capabilities.needs_quantized])
def test_what_trains_is_float32_or_refused(name, places):
    """A gradient scaler takes no gradients of float16: adapters, prompts, norms' and heads' copies are widened."""
    method, case = get_method(name), halved(places[name])
    if method.capabilities.trains_base:
        with pytest.raises(InvalidValueError, match=r"`dtype` must be float32 or bfloat16; got 'float16'"):
            method.apply(case.build(), case.setup)
        return
    model = method.apply(case.build(), case.setup)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("name", TRAINED_COPIES)
def test_a_float16_base_trains_with_scaled_gradients(name, places):
    """The step of a run on such a card, scaler and autocast included, goes through and moves what trains."""
    method, case = get_method(name), halved(places[name])
    model = method.apply(case.build(), case.setup).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in trained]
    optimizer, scaler = torch.optim.AdamW(trained, lr=1e-2), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    with torch.autocast("cpu", dtype=torch.float16):
        loss = model(**case.batch()).loss
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert any(not torch.equal(old, new) for old, new in zip(before, trained, strict=True))


@pytest.mark.parametrize("name", ["lora", "ln_tuning", "krona"])
def test_a_merged_model_has_the_dtypes_of_its_base(name, places):
    """Whoever deploys it computes without autocast, where a head or a norm of another dtype fails."""
    method, case = get_method(name), halved(places[name])
    before = {key: p.dtype for key, p in case.build().named_parameters()}
    assert method.merge is not None
    merged = method.merge(attach(method, case, case.build()))
    assert {key: p.dtype for key, p in merged.named_parameters()} == before
    assert logits(merged, case).dtype == torch.float16


@pytest.mark.parametrize("name", ["eva", "corda", "lora_ga"])
def test_what_starts_from_data_starts_as_on_a_float32_base(name, tiny_models):
    """The batches are seen under autocast, as they are trained on, and small gradients do not vanish in float16."""
    method = get_method(name)
    case = make_case(method, "bert", "classification", tiny_models["bert"], read_model)
    whole, half = (attach(method, one, one.build()) for one in (case, halved(case)))
    with torch.autocast("cpu", dtype=torch.float16):
        found = logits(half, halved(case))
    assert difference(found.float(), logits(whole, case)) < 2e-2
    pairs = [(a, b) for (n, a), b in zip(whole.named_parameters(), half.parameters(), strict=True) if "lora_A" in n]
    assert pairs
    for wanted, started in pairs:
        # The first direction counts most; the last ones of so few tokens are noise, and none has a sign.
        assert torch.nn.functional.cosine_similarity(wanted[0], started[0], dim=0).abs() > 0.99
