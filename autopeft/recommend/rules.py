"""The literature's advice as rows: when it applies, what it says, how much it weighs, and who says so.

A rule moves a score; it never overrules a method's own violations. Weights are on one scale: 2 outweighs
every other preference for a family, 1 is a clear preference, 0.25 breaks ties.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from autopeft.optimizers import get_optimizer
from autopeft.recommend import conditions as on
from autopeft.recommend.measured import measured_reason, with_contradictions
from autopeft.recommend.setting import MANY_ROWS, Case
from autopeft.values.candidates import Reason

OVERVIEW = "Nesterenkov, Fursanov and Kamyshev, Classification and overview of PEFT methods (BSUIR)"
PARAMETRIC = "Liashko, Turbal and Klymiuk, NUWEE 2025, doi 10.31713/vt1202511"
COMPARISON = "Marakulin, Dedkova and Aminov, Comparative analysis of PEFT methods (ITMO)"
HABR = "PEFT: LoRA, prefix tuning, prompt tuning and adapters, Habr 791966 (2024)"
WITHOUT_REGRET = "Schulman et al., LoRA Without Regret (2025)"
MEASURED = "measured: huggingface/peft method_comparison, Llama-3.2-3B on MetaMathQA, July 2026"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One piece of advice.

    Attributes:
        id: kebab-case, unique.
        applies: whether it speaks about a candidate in its setting.
        weight: what it adds to the score; 0 for a note.
        because: one sentence for the user.
        source: who says so, never empty.
        rate_factor: what it multiplies the seed's learning rate by.
        about: whether it speaks of how good a method gets, which measured runs of it can contradict; of how it is set
            up, in which what it was compared with was mostly like it; or of what it costs.
    """

    id: str
    applies: Callable[[Case], bool]
    verdict: Literal["prefer", "avoid", "note"]
    weight: float
    because: str
    source: str
    rate_factor: float = 1.0
    about: Literal["quality", "setup", "cost"] = "quality"


RULES: tuple[Rule, ...] = (
    Rule(
        id="prompts-suit-very-large-models",
        applies=lambda c: on.shallow_prompt(c) and on.large_model(c),
        verdict="prefer",
        weight=2.5,
        because="Prompts are the cheapest method and come close to full fine-tuning on models of 10 B or more.",
        source=f"{OVERVIEW}; Lester et al., arXiv 2104.08691",
    ),
    Rule(
        id="prompts-need-very-large-models",
        applies=lambda c: on.shallow_prompt(c) and not on.large_model(c),
        verdict="avoid",
        weight=-2.0,
        because="Prompts at the input alone fall well behind on models under about 10 B parameters.",
        source=f"{OVERVIEW}; Lester et al., arXiv 2104.08691",
    ),
    Rule(
        id="small-prompts-starve",
        applies=lambda c: on.shallow_prompt(c) and not on.large_model(c) and c.candidate.learning_rate < 1e-3,
        verdict="avoid",
        weight=-1.0,
        because="Untrained prompts starve at low rates: one went from 5.7 % to 34.3 % by rate and initial values.",
        source=MEASURED,
        about="setup",
    ),
    Rule(
        id="prefixes-suit-generation-with-little-data",
        applies=lambda c: on.deep_prompt(c) and c.setting.needs.generative and c.setting.low_data,
        verdict="prefer",
        weight=2.75,
        because="Prefixes in every layer are strong for generation when rows are few.",
        source=f"{OVERVIEW}; {HABR}; Li and Liang, arXiv 2101.00190",
    ),
    Rule(
        id="prefixes-suit-generation",
        applies=lambda c: on.deep_prompt(c) and c.setting.needs.generative and not c.setting.low_data,
        verdict="prefer",
        weight=0.5,
        because="Prefixes in every layer hold up for generation at a tenth of a percent of the parameters.",
        source=f"{OVERVIEW}; {HABR}; Li and Liang, arXiv 2101.00190",
    ),
    Rule(
        id="prefixes-are-sensitive",
        applies=on.deep_prompt,
        verdict="avoid",
        weight=-0.5,
        because="Prefixes are sensitive to their hyperparameters: 18.6 % to 41.6 % by rate and initial values.",
        source=f"{OVERVIEW}; {HABR}; {MEASURED}",
    ),
    Rule(
        id="prompts-take-room",
        applies=on.crowds_context,
        verdict="avoid",
        weight=-0.25,
        because="Its virtual tokens take more than a tenth of the row's length from the context.",
        source=COMPARISON,
        about="cost",
    ),
    Rule(
        id="prompts-overrun-positions",
        applies=on.overruns_positions,
        verdict="avoid",
        weight=-0.25,
        because="Beside its virtual tokens the longest row finds no room among the model's positions.",
        source=COMPARISON,
        about="cost",
    ),
    Rule(
        id="input-stays-whole",
        applies=lambda c: (on.low_rank(c) or on.bottleneck(c)) and not c.method.capabilities.uses_context,
        verdict="note",
        weight=0.0,
        because="The input needs no change and keeps its whole context.",
        source=COMPARISON,
    ),
    Rule(
        id="low-rank-suits-simple-labels",
        applies=lambda c: on.low_rank(c) and on.simple_labels(c),
        verdict="prefer",
        weight=1.0,
        because="Low-rank updates are the default for classification on a budget.",
        source=f"{OVERVIEW}; Hu et al., arXiv 2106.09685",
    ),
    Rule(
        id="low-rank-suits-tight-memory",
        applies=lambda c: on.low_rank(c) and c.setting.tight and not on.costly_variant(c),
        verdict="prefer",
        weight=1.0,
        because="Low-rank updates train 0.1 to 1 % of the parameters, which suits limited memory.",
        source=f"{OVERVIEW}; Hu et al., arXiv 2106.09685",
        about="cost",
    ),
    Rule(
        id="established-default",
        applies=lambda c: bool(c.method.baseline),
        verdict="prefer",
        weight=0.5,
        because="It is the recipe the literature compares with, and stays near the best of the measured runs.",
        source=f"Hu et al., arXiv 2106.09685; {MEASURED}",
    ),
    Rule(
        id="merges-away",
        applies=lambda c: c.method.capabilities.mergeable and not c.method.capabilities.adds_latency,
        verdict="prefer",
        weight=0.25,
        because="Merged into the weights, it costs nothing at inference.",
        source=f"{OVERVIEW}; Hu et al., arXiv 2106.09685",
        about="cost",
    ),
    Rule(
        id="slows-inference",
        applies=lambda c: c.method.capabilities.adds_latency,
        verdict="avoid",
        weight=-0.25,
        because="It stays in the way at inference and costs some time there.",
        source=f"{OVERVIEW}; {HABR}",
        about="cost",
    ),
    Rule(
        id="adapters-suit-complex-tasks",
        applies=lambda c: on.bottleneck(c) and on.complex_task(c),
        verdict="prefer",
        weight=2.0,
        because="Bottleneck adapters are the most stable on complex tasks, within 0.4 % of full fine-tuning on GLUE.",
        source=f"{OVERVIEW}; {HABR}; Houlsby et al., arXiv 1902.00751",
    ),
    Rule(
        id="extra-cost-under-tight-memory",
        applies=lambda c: on.costly_variant(c) and c.setting.tight,
        verdict="avoid",
        weight=-1.0,
        because="This variant needs more memory and time than the plain update, and memory is short here.",
        source="the chapter Parameter-efficient fine-tuning methods; arXiv 2303.10512, 2306.07967, 2402.09353",
        about="cost",
    ),
    Rule(
        id="extra-cost",
        applies=lambda c: on.costly_variant(c) and not c.setting.tight,
        verdict="avoid",
        weight=-0.25,
        because="This variant takes more memory and time per step than the plain update.",
        source="the chapter Parameter-efficient fine-tuning methods; arXiv 2303.10512, 2402.09353",
        about="cost",
    ),
    Rule(
        id="costlier-variants-pay-at-low-rank",
        applies=lambda c: on.costly_variant(c) and c.setting.low_data and c.equivalent_rank <= 16,
        verdict="prefer",
        weight=0.5,
        because="Costlier low-rank variants gain most at low rank with little data.",
        source="the chapter Parameter-efficient fine-tuning methods; Liu et al., arXiv 2402.09353",
    ),
    Rule(
        id="adapt-every-layer",
        applies=on.every_linear_layer,
        verdict="prefer",
        weight=0.5,
        because="Adapting all linear layers beats a higher rank in a few of them.",
        source=WITHOUT_REGRET,
        about="setup",
    ),
    Rule(
        id="adapt-the-mlp",
        applies=on.reaches_mlp,
        verdict="prefer",
        weight=0.25,
        because="Most of what low-rank updates gain comes through the feed-forward blocks: 49.4 % against 47.8 % for "
        "queries and values at as many parameters.",
        source=f"{WITHOUT_REGRET}; {MEASURED}",
        about="setup",
    ),
    Rule(
        id="attention-alone-falls-short",
        applies=on.attention_only,
        verdict="avoid",
        weight=-0.5,
        because="Attention alone falls short of the feed-forward blocks at the same number of parameters.",
        source=WITHOUT_REGRET,
        about="setup",
    ),
    Rule(
        id="low-rank-rate",
        applies=on.low_rank,
        verdict="note",
        weight=0.0,
        because="Its best learning rate is about ten times full fine-tuning's and nearly independent of rank.",
        source=WITHOUT_REGRET,
    ),
    Rule(
        id="short-runs-want-higher-rates",
        applies=lambda c: on.low_rank(c) and c.setting.steps(c.effective_batch) <= on.SHORT_RUN,
        verdict="note",
        weight=0.0,
        because="In runs of about 100 steps the best rate is nearer fifteen than ten times full fine-tuning's.",
        source=WITHOUT_REGRET,
        rate_factor=1.5,
    ),
    Rule(
        id="wide-models-want-lower-rates",
        applies=lambda c: on.low_rank(c) and on.wide_model(c) and c.candidate.learning_rate > on.WIDE_MODEL_RATE,
        verdict="note",
        weight=0.0,
        because="The best rate falls as models get wider; this seed's was found on a narrow one.",
        source=WITHOUT_REGRET,
        rate_factor=0.3,
    ),
    Rule(
        id="narrow-models-want-higher-rates",
        applies=lambda c: on.low_rank(c) and on.narrow_model(c) and c.candidate.learning_rate < on.WIDE_MODEL_RATE,
        verdict="note",
        weight=0.0,
        because="The best rate rises as models get narrower, 1.1 to 3.6 times from 2,000 to 384 wide by family; this "
        "seed's was found on a wide one.",
        source=WITHOUT_REGRET,
        rate_factor=2.0,
    ),
    Rule(
        id="large-batches-hurt-low-rank",
        applies=lambda c: on.low_rank(c) and c.effective_batch > 32,
        verdict="avoid",
        weight=-0.5,
        because="Low-rank updates lose more than full fine-tuning when batches are large.",
        source=WITHOUT_REGRET,
        about="setup",
    ),
    Rule(
        id="small-batches-keep-low-rank-well",
        applies=lambda c: on.low_rank(c) and c.effective_batch <= 32 and c.setting.task.training_rows >= MANY_ROWS,
        verdict="note",
        weight=0.0,
        because="The batch stays small in spite of many rows, because large batches hurt low-rank updates.",
        source=WITHOUT_REGRET,
    ),
    Rule(
        id="capacity-below-data",
        applies=on.starved_of_capacity,
        verdict="avoid",
        weight=-1.0,
        because="It trains fewer bits than the data hold; capacity should exceed them.",
        source=f"{WITHOUT_REGRET}; Allen-Zhu and Li, arXiv 2404.05405",
        about="setup",
    ),
    Rule(
        id="many-texts-want-rank",
        applies=lambda c: on.ample_rank(c) and c.setting.many_texts,
        # No weight: it says which rank of a method comes first, not which method.
        verdict="note",
        weight=0.0,
        because="Where many texts were learned from, the highest rank measured lost 1.4 points to the best, the one "
        "nearest to the published seed's 4.9: nine comparisons on four models.",
        source=f"measured: NVlabs/DoRA, commonsense_170k; {MEASURED}",
    ),
    Rule(
        id="too-low-a-rank",
        applies=lambda c: on.low_rank(c) and on.complex_task(c) and c.equivalent_rank < 4,
        verdict="avoid",
        weight=-0.5,
        because="Too low a rank hurts hard tasks and new domains.",
        source="the chapter Parameter-efficient fine-tuning methods; Zhang et al., arXiv 2303.10512",
        about="setup",
    ),
    Rule(
        id="quantize-what-does-not-fit",
        applies=lambda c: on.quantized(c) and on.half_precision_too_large(c),
        verdict="prefer",
        weight=0.5,
        because="The 16-bit base does not fit; adapters on a quantized base come near 16-bit quality.",
        source="Dettmers et al., arXiv 2305.14314",
        about="cost",
    ),
    Rule(
        id="quantization-can-degrade",
        applies=on.quantized,
        verdict="avoid",
        weight=-0.25,
        because="Fewer bits per weight can cost quality and are sensitive to dtype and scheme.",
        source="the chapter Parameter-efficient fine-tuning methods; Dettmers et al., arXiv 2305.14314",
        about="setup",
    ),
    Rule(
        id="full-costs-most-and-forgets",
        applies=on.full,
        verdict="avoid",
        weight=-2.0,
        because="Full fine-tuning costs the most memory and time and risks forgetting what the model knew.",
        source=f"{OVERVIEW}; {PARAMETRIC}",
        about="cost",
    ),
    Rule(
        id="low-rates-forget-little",
        applies=lambda c: on.full(c) and c.candidate.learning_rate <= on.GENTLE_RATE,
        verdict="note",
        weight=0.0,
        because="At such a low rate it forgot less than expected: 0.03 nats at 1e-5, a low-rank update 0.05 at 1e-4.",
        source=MEASURED,
    ),
    Rule(
        id="own-weights-suit-encoders-with-few-rows",
        applies=lambda c: on.few_own_weights(c) and c.setting.low_data,
        verdict="prefer",
        weight=0.5,
        because="A few of an encoder's own weights, its biases for one, keep up with all of them on small data.",
        source="Ben Zaken et al., arXiv 2106.10199",
    ),
    Rule(
        id="scales-suit-few-rows",
        applies=lambda c: on.scaling(c) and c.setting.low_data,
        verdict="prefer",
        weight=0.5,
        because="Learned scales were made for few-shot training and keep their own in it.",
        source="Liu et al., arXiv 2205.05638",
    ),
    Rule(
        id="scales-starve-at-low-rates",
        applies=lambda c: on.scaling(c) and c.candidate.learning_rate < 1e-3,
        verdict="avoid",
        weight=-0.5,
        because="Scales starve at low rates: 31.1 % at 1e-4, 39.8 % at 1e-3, 45.5 % at 5e-3.",
        source=MEASURED,
        about="setup",
    ),
    Rule(
        id="low-resource-language",
        applies=lambda c: on.low_resource_language(c) and not on.full(c),
        verdict="prefer",
        weight=0.25,
        because="Few trained parameters may help a language that pretraining has little of.",
        source=f"{PARAMETRIC}; arXiv 2401.07598",
    ),
    Rule(
        id="half-precision",
        applies=lambda c: c.candidate.dtype != "float32",
        verdict="note",
        weight=0.0,
        because="16-bit weights and activations halve the memory of the base.",
        source=PARAMETRIC,
    ),
    Rule(
        id="eight-bit-state",
        applies=lambda c: get_optimizer(c.candidate.optimizer).state_bytes_per_parameter < 4,
        verdict="note",
        weight=0.0,
        because="The optimizer's state takes 8 bits, paged out when memory runs short.",
        source="Dettmers et al., arXiv 2305.14314 and 2110.02861",
    ),
    Rule(
        id="accumulates",
        applies=lambda c: c.candidate.accumulation > 1,
        verdict="note",
        weight=0.0,
        because="Gradients are accumulated over smaller batches to fit.",
        source=PARAMETRIC,
    ),
    Rule(
        id="recomputes-activations",
        applies=lambda c: c.candidate.gradient_checkpointing,
        verdict="note",
        weight=0.0,
        because="Long rows raise activation memory; activations are recomputed to fit, at about a third more time.",
        source=f"{PARAMETRIC}; Chen et al., arXiv 1604.06174",
    ),
    Rule(
        id="size-is-little-studied",
        applies=lambda c: c.setting.low_data,
        verdict="note",
        weight=0.0,
        because="Which method wins at this few rows is little studied: measure it with a search.",
        source="the chapter Parameter-efficient fine-tuning methods",
    ),
)


def reasons_for(case: Case) -> tuple[Reason, ...]:
    """Returns the rules that fire for a candidate and what was measured of its method, the weightiest first."""
    fired = [
        Reason(rule=r.id, verdict=r.verdict, because=r.because, source=r.source, weight=r.weight)
        for r in RULES
        if r.applies(case)
    ]
    measured = measured_reason(case)
    fired += [measured] if measured else []
    judged = frozenset(rule.id for rule in RULES if rule.about == "quality")
    return tuple(sorted(with_contradictions(fired, case, judged), key=lambda reason: -abs(reason.weight)))


RATE = "learning-rate"
"""Id of the note that says where a candidate's rate comes from."""


def rate_rules(case: Case) -> tuple[Rule, ...]:
    """Returns the rules that fire and multiply a seed's learning rate."""
    return tuple(rule for rule in RULES if rule.rate_factor != 1.0 and rule.applies(case))
