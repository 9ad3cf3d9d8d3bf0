"""Prompt tuning: learned embeddings before the input, and nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autopeft.methods import _peft, _prompts
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, refuse
from autopeft.values.candidates import Setup
from autopeft.values.names import LANGUAGE_TASKS, ParameterValue

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

INITS = {"random": "RANDOM", "sampled_vocabulary": "SAMPLE_VOCAB"}
LEGAL: dict[str, "BaseDistribution"] = {
    "virtual_tokens": IntDistribution(1, 1024, log=True),
    "init": CategoricalDistribution(tuple(INITS)),
}
CAPABILITIES = Capabilities(
    tasks=(*_prompts.SEQUENCE_TASKS, *LANGUAGE_TASKS), models=_peft.ALL_KINDS, quantized_base=True,
    mergeable=False, identity_at_start=False, adds_latency=True, changes_base=False, takes_targets=False,
    takes_layers=False, uses_context=True,
)  # fmt: skip


def _trainable(setup: Setup) -> int:
    """One embedding per virtual token."""
    return int(setup.candidate.parameters["virtual_tokens"]) * _prompts.embedding_width(setup.model)


def _violations(setup: Setup) -> tuple[str, ...]:
    return (*declared_violations(setup, CAPABILITIES, LEGAL), *_prompts.input_violations(setup))


def _config(setup: Setup) -> Any:
    from peft import PromptTuningConfig

    init = INITS[str(setup.candidate.parameters["init"])]
    return PromptTuningConfig(prompt_tuning_init=init, **_prompts.input_config(setup))


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    return _peft.attach(model, _config(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    """Reads `init` off the prompt: true right after `apply`, before it is trained."""
    prompt = attached.prompt_encoder[_peft.ADAPTER].embedding.weight
    words = attached.word_embeddings.weight.to(prompt.dtype)
    sampled = all(bool((words == row).all(dim=1).any()) for row in prompt)
    return {"virtual_tokens": int(prompt.shape[0]), "init": "sampled_vocabulary" if sampled else "random"}


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    return _peft.load_into(_apply(model, setup), folder)


METHOD = Method(
    name="prompt_tuning",
    title="Prompt tuning",
    family="soft-prompt",
    paper=Paper(
        title="The Power of Scale for Parameter-Efficient Prompt Tuning",
        year=2021, address="https://arxiv.org/abs/2104.08691",
    ),
    summary="Learns a few embeddings before the input: the fewest parameters, worth it on very large models.",
    capabilities=CAPABILITIES,
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 1.0, log=True),
    seeds=(
        Seed(
            parameters={"virtual_tokens": 20, "init": "sampled_vocabulary"}, learning_rate=1e-2, targets="none",
            source="Lester et al., arXiv 2104.08691: 20 tokens and vocabulary initialisation suffice at scale;"
            " rates far above other methods'",
        ),
        Seed(
            parameters={"virtual_tokens": 200, "init": "sampled_vocabulary"}, learning_rate=1e-3, targets="none",
            source="peft method_comparison MetaMathQA, prompt_tuning/llama-3.2-3B-sample_vocab-lr_0.001:"
            " 0.343 on GSM8K, against 0.234 from random and 0.057 at 1e-4",
        ),
    ),
    trainable=_trainable,
    violations=_violations,
    apply=_apply,
    peft_config=_config,
    effective=_effective,
    detach=_peft.detach,
    merge=None,
    save=_peft.save,
    load=_load,
    memory_factor=0.0,
)  # fmt: skip
