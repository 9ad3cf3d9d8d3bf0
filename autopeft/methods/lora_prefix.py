"""LoRA in the layers and a prefix before the keys and values of each."""

from optuna.distributions import FloatDistribution

from autopeft.methods._composition import compose
from autopeft.methods._declaration import Paper, Seed
from autopeft.methods.lora import METHOD as LORA
from autopeft.methods.prefix_tuning import METHOD as PREFIX

METHOD = compose(
    LORA,
    PREFIX,
    name="lora_prefix",
    title="LoRA with a prefix",
    paper=Paper(
        title="UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning",
        year=2021, address="https://arxiv.org/abs/2110.07577",
    ),
    summary="LoRA in the layers beside learned keys and values before the input; what each alone lacks, at both costs.",
    learning_rate=FloatDistribution(1e-5, 3e-2, log=True),
    seeds=(
        Seed(
            parameters={"rank": 8, "alpha": 16, "dropout": 0.0, "virtual_tokens": 10}, learning_rate=1e-3,
            source="rank 8 and ten vectors as in Mao et al., arXiv 2110.07577, section 4, without their gates; one rate"
            " for both, between the parts' own, is a choice of this project",
        ),
    ),
)  # fmt: skip
