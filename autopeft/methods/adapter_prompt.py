"""A bottleneck adapter in each layer and learned embeddings before the input."""

from optuna.distributions import FloatDistribution

from autopeft.methods._composition import compose
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods.pfeiffer_adapter import METHOD as ADAPTER
from autopeft.methods.prompt_tuning import METHOD as PROMPT

METHOD = compose(
    ADAPTER,
    PROMPT,
    name="adapter_prompt",
    title="Adapters with a prompt",
    paper=Paper(
        title="UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning",
        year=2021, address="https://arxiv.org/abs/2110.07577",
    ),
    summary="A small bottleneck in each layer and learned embeddings before the input, trained together.",
    learning_rate=FloatDistribution(1e-5, 3e-2, log=True),
    seeds=(
        Seed(
            parameters={
                "bottleneck": 64, "activation": "gelu", "dropout": 0.0, "virtual_tokens": 20,
                "init": "sampled_vocabulary",
            },
            learning_rate=1e-3, targets="none",
            source="the parts' own recipes (arXiv 2005.00247, 2104.08691); one rate for both, between theirs, is a"
            " choice of this project",
        ),
    ),
)  # fmt: skip
