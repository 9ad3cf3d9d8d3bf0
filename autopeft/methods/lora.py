"""Low-rank adaptation: a product of two small matrices beside each targeted weight."""

from optuna.distributions import FloatDistribution

from autopeft.methods import _lora
from autopeft.methods._declaration import Paper, Seed

METHOD = _lora.declare(
    name="lora",
    title="LoRA",
    paper=Paper(
        title="LoRA: Low-Rank Adaptation of Large Language Models", year=2021, address="https://arxiv.org/abs/2106.09685"
    ),
    summary="Adds the product of two low-rank matrices to each targeted weight; merges away for inference.",
    capabilities=_lora.CAPABILITIES,
    learning_rate=FloatDistribution(1e-5, 2e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "alpha": 16, "dropout": 0.0}, learning_rate=1e-3,
            source="measured: MiniLM on rated movie-review snippets, 0.841 accuracy after 400 steps of 16",
        ),
        Seed(
            parameters={"rank": 10, "alpha": 20, "dropout": 0.0}, learning_rate=1e-4, targets="mlp",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank10-target-mlp: 0.494 on GSM8K",
        ),
        Seed(
            parameters={"rank": 32, "alpha": 64, "dropout": 0.0}, learning_rate=1e-4, targets="qv",
            source="peft method_comparison MetaMathQA, lora/llama-3.2-3B-rank32: 0.478 on GSM8K",
        ),
    ),
    baseline={
        "default": Seed(
            parameters={"rank": 16, "alpha": 32, "dropout": 0.0}, learning_rate=2e-4,
            source="the recipe most tutorials give: rank 16, alpha twice the rank, all linear layers, 2e-4",
        )
    },
)  # fmt: skip
