"""Class weights reach the loss of every method that trains a classifier, whoever computes that loss."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from autopeft.methods import all_methods, get_method
from autopeft.profiling.model import read_model
from autopeft.testing._observe import attached
from autopeft.testing.cases import make_case
from autopeft.training.class_weights import weighted_loss

WEIGHTS = (0.5, 1.0, 4.0)


def classifier(name, tiny_models):
    """The method's case on the tiny encoder's classifier."""
    return make_case(get_method(name), "bert", "classification", tiny_models["bert"], read_model)


@pytest.mark.parametrize("name", all_methods())
def test_every_method_weighs_its_classes(name, tiny_models):
    """The loss changes by the difference of both cross entropies: what a method adds to it, as AdaLoRA does, stays."""
    method, case = get_method(name), classifier(name, tiny_models)
    if method.violations(case.setup):
        pytest.skip("It trains no classifier of an encoder.")
    model, given = attached(method, case).eval(), case.batch()
    with torch.no_grad():
        plain = model(**given)
        with weighted_loss(model, WEIGHTS):
            weighted = model(**given).loss
        expected = cross_entropy(plain.logits, given["labels"], torch.tensor(WEIGHTS))
        expected += plain.loss - cross_entropy(plain.logits, given["labels"])
        assert weighted == pytest.approx(float(expected), rel=1e-5)
        assert abs(weighted - plain.loss) > 1e-4
        assert torch.equal(model(**given).loss, plain.loss)
