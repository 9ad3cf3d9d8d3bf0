"""AdaLoRA: starts wide, then gives the rank to the layers that use it, on a schedule over the run."""

from pathlib import Path
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.files import read_json
from autopeft.methods import _lora, _peft
from autopeft.methods._declaration import Capabilities, Method, Paper, Seed
from autopeft.methods._legal import declared_violations, rank_violations, refuse
from autopeft.methods._targets import target_modules
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue

LEGAL = {**_lora.LEGAL, "initial_rank": IntDistribution(2, 1536, log=True)}
CAPABILITIES = Capabilities(
    tasks=tuple(task for task in _peft.ALL_TASKS if task != "multiple-choice"), models=_peft.ALL_KINDS,
    quantized_base=True, mergeable=True, identity_at_start=True, adds_latency=False, changes_base=False,
    takes_targets=True, takes_layers=True, shardable=False,
)  # fmt: skip
"""peft adds the penalty on factors that are not orthogonal in a forward pass that multiple choice does without."""
FEWEST_STEPS = 10
"""Below this the schedule has no step in which to warm up, to allocate, and to settle."""


def _trainable(setup: Setup) -> int:
    """At the start: initial rank × (in + out + 1), the one being the singular value."""
    rank = int(setup.candidate.parameters["initial_rank"])
    return sum(rank * (m.in_features + m.out_features + 1) for m in target_modules(setup))


def _violations(setup: Setup) -> tuple[str, ...]:
    given = setup.candidate.parameters
    rank, initial = given.get("rank", 1), given.get("initial_rank", 2)
    found = [*declared_violations(setup, CAPABILITIES, LEGAL), *rank_violations(setup, initial, "initial_rank")]
    if isinstance(rank, int) and isinstance(initial, int) and initial <= rank:
        found.append(f"`initial_rank` must be above `rank`, to which it is pruned; got {initial} and {rank}.")
    if setup.total_steps < FEWEST_STEPS:
        found.append(f"The rank schedule needs at least {FEWEST_STEPS} optimizer steps; got {setup.total_steps}.")
    return tuple(found)


def _config(setup: Setup) -> Any:
    from peft import AdaLoraConfig

    given = setup.candidate.parameters
    return AdaLoraConfig(
        target_r=given["rank"], init_r=given["initial_rank"], lora_alpha=given["alpha"], lora_dropout=given["dropout"],
        **_schedule(setup.total_steps), fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _apply(model: Any, setup: Setup) -> Any:
    refuse(setup, _violations)
    attached = _peft.attach(model, _config(setup))
    _freeze_rank_counts(attached)
    return attached


def _freeze_rank_counts(attached: Any) -> None:
    """Freezes the rank that each layer divides by: where peft casts it from float32, it makes it trainable."""
    from peft.tuners.adalora import AdaLoraLayer

    for layer in _peft.layers(attached, AdaLoraLayer):
        layer.ranknum.requires_grad_(requires_grad=False)


def _held(setup: Setup) -> int:
    """A number of float32 in each layer: the rank that it divides by."""
    return 4 * len(target_modules(setup))


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.adalora import AdaLoraLayer

    layers = _peft.layers(attached, AdaLoraLayer)
    allocator = attached.base_model.rankallocator
    return {
        "rank": allocator.target_bgt // len(allocator.name_set),
        "initial_rank": _peft.shared("initial_rank", [int(x.lora_A[_peft.ADAPTER].shape[0]) for x in layers]),
        "alpha": _peft.shared("alpha", [float(x.scaling[_peft.ADAPTER]) for x in layers]),
        "dropout": _peft.shared("dropout", [_peft.dropout_of(x.lora_dropout[_peft.ADAPTER]) for x in layers]),
    }


def _load(model: Any, setup: Setup, folder: Path) -> Any:
    attached = _apply(model, setup)
    # The saved matrices are cut to the ranks that were kept, and so the layers have to be.
    kept = read_json(folder / _peft.CONFIG_FILE)["rank_pattern"]
    if kept is not None:
        _cut(attached, kept)
    _peft.load_into(attached, folder)
    attached.peft_config[_peft.ADAPTER].rank_pattern = kept
    attached.autopeft_ranks_settled = kept is not None
    return attached


def _cut(attached: Any, kept: dict[str, list[bool]]) -> None:
    """Cuts layers to the ranks that were kept, their factors in float32 and their rank counts frozen as before.

    peft does it by itself while it loads, and leaves the new ones in the dtype of the base and the counts trainable.
    """
    from peft.tuners.tuners_utils import cast_adapter_dtype

    attached.base_model.resize_modules_by_rank_pattern(kept, _peft.ADAPTER)
    cast_adapter_dtype(attached.base_model, _peft.ADAPTER)
    _freeze_rank_counts(attached)


def _schedule(steps: int) -> dict[str, int]:
    """Returns peft's schedule: a tenth of the run to warm up, three tenths at the end with the ranks fixed."""
    return {"total_step": steps, "tinit": steps // 10, "tfinal": 3 * steps // 10, "deltaT": max(1, steps // 100)}


def _before_training(attached: Any, steps: int) -> None:
    """Fits the schedule to the run; peft's allocator reads it from the config at every step."""
    config = attached.peft_config[_peft.ADAPTER]
    for key, value in _schedule(max(steps, FEWEST_STEPS)).items():
        setattr(config, key, value)


def _after_step(attached: Any, step: int) -> None:
    if not getattr(attached, "autopeft_ranks_settled", False):
        attached.base_model.update_and_allocate(step)


METHOD = Method(
    name="adalora",
    title="AdaLoRA",
    family="low-rank",
    paper=Paper(
        title="AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
        year=2023, address="https://arxiv.org/abs/2303.10512",
    ),
    summary="LoRA in singular-value form that prunes its rank where it matters least, during training.",
    capabilities=CAPABILITIES,
    legal=LEGAL,
    learning_rate=FloatDistribution(1e-4, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "initial_rank": 12, "alpha": 32, "dropout": 0.0}, learning_rate=1e-3,
            source="Zhang et al., arXiv 2303.10512, appendix: initial budget 1.5 times the target, rates 5e-4 to 2e-3",
        ),
    ),
    trainable=_trainable,
    violations=_violations,
    apply=_apply,
    peft_config=_config,
    effective=_effective,
    held=_held,
    detach=_peft.detach,
    merge=_peft.merge,
    save=_peft.save,
    load=_load,
    before_training=_before_training,
    after_step=_after_step,
    memory_factor=1.5,
)  # fmt: skip
