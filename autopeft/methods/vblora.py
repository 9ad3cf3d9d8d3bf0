"""VB-LoRA: LoRA's factors put together from a bank of vectors that all layers share."""

from typing import TYPE_CHECKING, Any

from optuna.distributions import FloatDistribution, IntDistribution

from autopeft.methods import _injected, _peft
from autopeft.methods._declaration import Paper, Seed
from autopeft.values.candidates import Setup
from autopeft.values.names import ParameterValue
from autopeft.values.profiles import ModuleShape

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# With the single best vector its weight is always 1, and the choice would never learn.
LEGAL: dict[str, "BaseDistribution"] = {
    "rank": IntDistribution(1, 256, log=True),
    "vectors": IntDistribution(2, 8192, log=True),
    "vector_length": IntDistribution(1, 4096, log=True),
    "top_k": IntDistribution(2, 64, log=True),
}


def _trainable(setup: Setup) -> int:
    """The bank, and a logit for each of its vectors in each place of the factors."""
    rank, vectors, length = (_injected.number(setup, key) for key in ("rank", "vectors", "vector_length"))

    def logits(module: ModuleShape) -> int:
        return rank * (module.in_features // length + module.out_features // length) * vectors

    return vectors * length + _injected.total(setup, logits)


def _limits(setup: Setup) -> tuple[str, ...]:
    top, vectors = _injected.number(setup, "top_k"), _injected.number(setup, "vectors")
    few = (f"`top_k` is {top}, above the {vectors} `vectors` to choose from.",) if top > vectors else ()
    divided = _injected.division_limits(setup, "vector_length", inputs=True, outputs=True)
    return (*few, *divided, *_injected.rank_limits(setup))


def _config(setup: Setup) -> Any:
    from peft import VBLoRAConfig

    given = setup.candidate.parameters
    return VBLoRAConfig(
        r=given["rank"], num_vectors=given["vectors"], vector_length=given["vector_length"], topk=given["top_k"],
        fan_in_fan_out=_peft.transposed(setup), **_peft.injected(setup),
    )  # fmt: skip


def _effective(attached: Any) -> dict[str, ParameterValue]:
    from peft.tuners.vblora.layer import VBLoRALayer

    name = _peft.ADAPTER
    return _injected.read(
        attached, VBLoRALayer, rank=lambda layer: int(layer.vblora_logits_A[name].shape[0]),
        vectors=lambda layer: int(layer.vblora_logits_A[name].shape[-1]),
        vector_length=lambda layer: int(layer.vblora_vector_bank[name].shape[1]),
        top_k=lambda layer: int(layer.topk[name]),
    )  # fmt: skip


METHOD = _injected.declare(
    name="vblora",
    title="VB-LoRA",
    family="low-rank",
    paper=Paper(
        title="VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks",
        year=2024, address="https://arxiv.org/abs/2405.15179",
    ),
    summary="Builds LoRA's factors from a shared bank of vectors: little to store, since only the best few are kept.",
    capabilities=_injected.capable(quantized_base=True, identity_at_start=False, shardable=False),
    legal=LEGAL,
    # One rate for all; the authors give the bank a tenth of the logits' 1e-2.
    learning_rate=FloatDistribution(1e-4, 5e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 4, "vectors": 256, "vector_length": 64, "top_k": 2}, learning_rate=1e-3,
            source="Li et al., arXiv 2405.15179: rank 4, best 2, the bank's rate 1e-3; the length fits more models",
        ),
        Seed(
            parameters={"rank": 4, "vectors": 256, "vector_length": 256, "top_k": 2}, learning_rate=1e-3, targets="qv",
            source="sizes of peft method_comparison MetaMathQA, vblora/llama-3.2-3B-default: 0.334 on GSM8K at 1e-4,"
            " which starves it",
        ),
    ),
    trainable=_trainable,
    config=_config,
    effective=_effective,
    limits=_limits,
    memory_factor=1.5,
)  # fmt: skip
