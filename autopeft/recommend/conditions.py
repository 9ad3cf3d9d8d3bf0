"""When a rule applies: predicates over families, capabilities and the setting, never over a method's name."""

import math

from autopeft.recommend.setting import Case

LARGE_MODEL = 10_000_000_000
"""Parameters from which prompts alone come close to fine-tuning (Lester et al., arXiv 2104.08691)."""

EXTRA_COST = 1.15
"""Activation factor from which a low-rank variant counts as costlier than the plain one."""

SHORT_RUN = 100
"""Optimizer steps up to which a run is short (Schulman et al., LoRA Without Regret)."""

GENTLE_RATE = 2e-5
"""Rates of full fine-tuning up to which little was forgotten in measured runs."""

WIDE_MODEL = 2000
"""Hidden size at which published rates for low-rank updates are given (Schulman et al.)."""

NARROW_MODEL = 800
"""Hidden size up to which a model is narrow: base-size encoders and less."""

WIDE_MODEL_RATE = 5e-4
"""The best rate of a plain low-rank pair at that width, ten times full fine-tuning's 5e-5 (Schulman et al.)."""

AMPLE_RANK = 32
"""Rank that served best where the rows were many texts."""

HIGH_RESOURCE = frozenset({"en", "zh", "de", "fr", "es", "ru", "ja", "pt", "it"})
"""Languages that pretraining corpora hold in plenty, by ISO 639-1 code."""

BITS_PER_PARAMETER = 2.0
"""What a trained parameter can hold (Allen-Zhu and Li, arXiv 2404.05405)."""

BITS_PER_TOKEN = 1.0
"""What a token of text holds at least (Schulman et al., LoRA Without Regret)."""


def low_rank(case: Case) -> bool:
    """A low-rank update of weights."""
    return case.method.family == "low-rank"


def bottleneck(case: Case) -> bool:
    """Layers inserted after blocks."""
    return case.method.family == "adapter"


def soft_prompt(case: Case) -> bool:
    """Trained vectors beside the input."""
    return case.method.family == "soft-prompt"


def selective(case: Case) -> bool:
    """A subset of the model's own parameters."""
    return case.method.family == "selective"


def few_own_weights(case: Case) -> bool:
    """A subset of an encoder's own parameters, for a task of one decision per row."""
    return selective(case) and case.setting.model.kind == "encoder" and not complex_task(case)


def scaling(case: Case) -> bool:
    """Factors on activations."""
    return case.method.family == "scaling"


def full(case: Case) -> bool:
    """All of the model's parameters."""
    return case.method.family == "full"


def shallow_prompt(case: Case) -> bool:
    """A soft prompt at the input alone."""
    return soft_prompt(case) and not case.grows_with_depth


def deep_prompt(case: Case) -> bool:
    """A soft prompt in every layer."""
    return soft_prompt(case) and case.grows_with_depth


def large_model(case: Case) -> bool:
    """At least ten billion parameters."""
    return case.setting.model.parameters >= LARGE_MODEL


def wide_model(case: Case) -> bool:
    """A wide model under an update as large as a plain low-rank pair; smaller ones keep rates of their own."""
    return case.setting.model.hidden_size >= WIDE_MODEL and case.equivalent_rank >= 4


def narrow_model(case: Case) -> bool:
    """A narrow model under an update as large as a plain low-rank pair; smaller ones keep rates of their own."""
    return case.setting.model.hidden_size <= NARROW_MODEL and case.equivalent_rank >= 4


def complex_task(case: Case) -> bool:
    """Several steps or many decisions per row."""
    return case.setting.needs.complexity == "complex"


def simple_labels(case: Case) -> bool:
    """A simple task without writing: one decision per row."""
    return not complex_task(case) and not case.setting.needs.generative


def costly_variant(case: Case) -> bool:
    """A low-rank method that keeps more activations than the plain one."""
    return low_rank(case) and case.method.memory_factor >= EXTRA_COST


def crowds_context(case: Case) -> bool:
    """Takes more than a tenth of the row's length."""
    return _virtual_tokens(case) > 0.1 * case.setting.tokens_per_row


def overruns_positions(case: Case) -> bool:
    """Leaves the longest row no room among the model's positions."""
    room, positions = _virtual_tokens(case), case.setting.model.max_positions
    return room > 0 and positions is not None and case.setting.tokens_per_row + room > positions


def _virtual_tokens(case: Case) -> int:
    """Returns how many tokens a method puts before the row."""
    uses = case.method.capabilities.uses_context
    return int(case.candidate.parameters.get("virtual_tokens", 0)) if uses else 0


def data_bits(case: Case) -> float:
    """Returns what the training rows hold, in bits: their labels' entropy, or a bit per token of text."""
    task = case.setting.task
    if case.setting.needs.generative:
        return task.training_rows * task.tokens.mean * BITS_PER_TOKEN
    per_token = task.tokens.mean if task.task == "token-classification" else 1.0
    return task.training_rows * per_token * math.log2(max(len(task.labels), 2))


def starved_of_capacity(case: Case) -> bool:
    """Trains fewer bits than the data hold."""
    return case.estimate.trainable_parameters * BITS_PER_PARAMETER < data_bits(case)


def ample_rank(case: Case) -> bool:
    """A low-rank update of at least the rank that many texts want."""
    rank = case.candidate.parameters.get("rank")
    return low_rank(case) and isinstance(rank, int) and rank >= AMPLE_RANK


def attention_only(case: Case) -> bool:
    """A low-rank update that leaves the feed-forward block out."""
    return low_rank(case) and case.candidate.targets in ("attention", "qv")


def reaches_mlp(case: Case) -> bool:
    """A low-rank update that includes the feed-forward block."""
    return low_rank(case) and case.candidate.targets in ("all-linear", "mlp")


def every_linear_layer(case: Case) -> bool:
    """A low-rank update of every linear layer."""
    return low_rank(case) and case.candidate.targets == "all-linear"


def half_precision_too_large(case: Case) -> bool:
    """The 16-bit base, or a device's share of it, does not fit with anything beside it."""
    return case.setting.half_precision_weight_bytes > case.setting.memory_limit


def quantized(case: Case) -> bool:
    """The base is stored in fewer than 16 bits."""
    return case.candidate.quantization != "none"


def low_resource_language(case: Case) -> bool:
    """The data's language is known and is not one that pretraining has in plenty."""
    language = case.setting.task.language
    return language is not None and language not in HIGH_RESOURCE
