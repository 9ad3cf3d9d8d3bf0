"""What training code does its own way: recomputing, the loss, packing, autocast."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from autopeft.errors import invalid, unknown
from autopeft.methods import get_method
from autopeft.values.candidates import Setup
from autopeft.values.names import LANGUAGE_TASKS
from autopeft.values.profiles import Device

OWNER = "an estimate"

Checkpointing = Literal["own", "non-reentrant", "reentrant"]
CHECKPOINTINGS: tuple[Checkpointing, ...] = get_args(Checkpointing)
Attention = Literal["sdpa", "eager", "flash"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
Loss = Literal["whole", "chunked"]
LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True, kw_only=True)
class Practice:
    """How the code that trains goes about a step; the defaults are how autopeft's own does.

    Attributes:
        checkpointing: how gradient checkpointing recomputes, where the candidate has it: by either variant of
            ``torch.utils.checkpoint`` as transformers' Trainer, and what builds on it, sets them up, which has the
            embeddings' output ask for gradients. ``own`` is the variant that is not reentrant, without that.
        loss: ``chunked`` computes head and loss for some of the tokens at a time, as Liger's fused linear
            cross-entropy does: the logits of all of them never exist at once.
        attention: ``sdpa`` leaves it to torch, which picks a kernel for the device; ``eager`` is transformers' own,
            ``flash`` the package FlashAttention, which takes no mask.
        packing: the texts of a batch stand in one row without padding, each attending to itself alone.
        autocast: whether the step runs under autocast to the candidate's dtype. Else each weight computes in its own.
    """

    checkpointing: Checkpointing = "own"
    loss: Loss = "whole"
    attention: Attention = "sdpa"
    packing: bool = False
    autocast: bool = True

    @property
    def proportional(self) -> bool:
        """Whether a batch takes so many times what a row does, beside what it takes at any size."""
        return self.loss == "whole" and not self.packing


OWN = Practice()


def practice_of(checkpointing: str | None, loss: str, attention: str, *, packing: bool, autocast: bool) -> Practice:
    """Returns the practice that a user names.

    Raises:
        InvalidValueError: a name is not known.
    """
    return Practice(
        checkpointing=_named("--checkpointing", checkpointing or "own", CHECKPOINTINGS),
        loss=_named("--loss", loss, LOSSES), attention=_named("--attention", attention, ATTENTIONS), packing=packing,
        autocast=autocast,
    )  # fmt: skip


def _named(key: str, name: str, known: tuple[Any, ...]) -> Any:
    if name not in known:
        raise unknown(key, OWNER, name, known)
    return name


def check_practice(practice: Practice, setup: Setup, device: Device) -> None:
    """Refuses a practice that means nothing for a setup or a device.

    Raises:
        InvalidValueError: the message says which, and why.
    """
    if practice.checkpointing != "own" and not setup.candidate.gradient_checkpointing:
        expected, advice = "given with --gradient-checkpointing", "Add it, or leave --checkpointing out."
        raise invalid("--checkpointing", OWNER, expected, practice.checkpointing, advice)
    if practice.attention == "flash":
        _check_flash(setup, device)
    asked = {"--loss": practice.loss == "chunked", "--packing": practice.packing}
    for key in (key for key, given in asked.items() if given and not writes(setup)):
        expected = "left out but for a decoder that learns to write"
        raise invalid(key, f"an estimate of a model of kind {setup.model.kind} for {setup.task}", expected, _given(key))
    if practice.packing and get_method(setup.candidate.method).capabilities.uses_context:
        expected = "left out: the method puts tokens before every row, and packed texts share one"
        raise invalid("--packing", f"an estimate of {setup.candidate.method}", expected, _given("--packing"))


def _check_flash(setup: Setup, device: Device) -> None:
    able = device.kind == "rocm" or (device.kind == "cuda" and float(device.compute_capability or _AMPERE) >= _AMPERE)
    if not able:
        expected = f"sdpa or eager on {device.name}"
    elif setup.candidate.dtype == "float32":
        expected = "sdpa or eager in float32"
    else:
        return
    advice = "FlashAttention is for 16 bits, on NVIDIA's cards from Ampere on and on AMD's."
    raise invalid("--attention", OWNER, expected, "flash", advice)


_AMPERE = 8.0
"""Compute capability of NVIDIA's cards from which on FlashAttention runs."""


def _given(key: str) -> str:
    return "chunked" if key == "--loss" else "on"


def writes(setup: Setup) -> bool:
    """Whether a decoder learns to write, so that its loss is that of a causal language model."""
    return setup.model.kind == "decoder" and setup.task in LANGUAGE_TASKS
