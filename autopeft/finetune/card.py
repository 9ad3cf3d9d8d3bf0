"""The model card beside a trained adapter: what it is, where its choice comes from, and how good it is."""

from collections.abc import Iterable, Mapping

from autopeft.files import to_yaml
from autopeft.finetune.outcomes import Trained
from autopeft.finetune.public import shared_name
from autopeft.finetune.words import before_and_after, estimate_words, score_words
from autopeft.methods import get_method
from autopeft.profiling.sizes import format_bytes
from autopeft.tuned import TunedConfig
from autopeft.values.outcomes import Score

_USE = ["## Use\n", "```sh\nautopeft predict THIS_FOLDER --data new_rows.csv --output predictions.csv\n```", ""]


def model_card(tuned: TunedConfig, trained: Trained, *, peft_format: bool) -> str:
    """Returns the card as Markdown with the metadata block that model hubs read.

    Args:
        tuned: what was trained.
        trained: what came of it.
        peft_format: whether the folder holds peft's own files.
    """
    method = get_method(tuned.candidate.method)
    # A hub takes the name of a model there and refuses a card that names a folder; a path is nobody else's business.
    base = shared_name(tuned.model.source)
    named = {"base_model": base} if base == tuned.model.source else {}
    header = {
        **named,
        "library_name": "peft" if peft_format else "autopeft",
        "tags": ["autopeft", method.family, tuned.model.task],
    }
    return "\n".join(
        [
            f"---\n{to_yaml(header)}---",
            f"# {method.title} for {tuned.model.task}\n",
            f"Trained by autopeft {trained.autopeft_version} from `tuned.yaml` on {base}.\n",
            *_scores(trained),
            *_provenance(tuned, trained),
            *_estimate(trained),
            *(["## Notes\n", *(f"- {note}" for note in trained.notes), ""] if trained.notes else []),
            *_USE,
            f"## Method\n\n{method.paper.title} ({method.paper.year}), {method.paper.address}",
            "",
        ]
    )


def _scores(trained: Trained) -> list[str]:
    lines = ["## Before and after\n", *_table(("measured", "before", "after"), before_and_after(trained, shared_name))]
    level = f"{trained.test.after.level:.0%}"
    lines.append(
        f"\nIntervals are bootstrap intervals over rows at {level}. The test split played no part in training."
    )
    if trained.calibration is not None:
        found = trained.calibration
        lines.append(
            f"\nProbabilities: logits divided by {found.temperature:.4g}, fitted on {found.rows} validation labels; "
            f"expected calibration error there {found.error_before:.3f} before, {found.error_after:.3f} after."
        )
    return [*lines, ""]


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ("---",) * len(header), *rows)]


def _estimate(trained: Trained) -> list[str]:
    rows = list(estimate_words(trained))
    if trained.expected is None or not rows:
        return []
    title = f"## What it took, on {trained.expected.device}\n"
    return [title, *_table(("", "estimated before training", "measured"), rows), ""]


def _searched(by_split: Mapping[str, Score | None]) -> str:
    return ", ".join(f"{name} {score_words(score)}" for name, score in by_split.items() if score) or "none kept"


def _size(octets: int | None) -> str:
    return "" if octets is None else f", {format_bytes(octets)} on disk"


def _provenance(tuned: TunedConfig, trained: Trained) -> list[str]:
    chosen, origin = tuned.candidate, tuned.provenance
    parameters = ", ".join(f"{key} {value}" for key, value in chosen.parameters.items())
    trials = ", ".join(f"{count} {status}" for status, count in origin.trials.items() if count)
    data = shared_name(tuned.data.source)
    facts = {
        "Search": f"{trials or 'no trials recorded'}; {origin.search_seconds:.0f} s; version {origin.autopeft_version}",
        "Score of the search": _searched({"validation": origin.validation, "test": origin.test}),
        "Configuration": f"{chosen.method} ({parameters}) on {chosen.targets}, layers {chosen.layers}",
        "Base": f"quantization {chosen.quantization}, {chosen.dtype}; fingerprint `{tuned.model.fingerprint[:16]}`",
        "Optimizer": f"{chosen.optimizer}, learning rate {chosen.learning_rate:.3g}, "
        f"{chosen.batch_size} × {chosen.accumulation} rows per step",
        "Data": f"{data}, split seed {tuned.data.seed}",
        "Training": f"{trained.steps} steps, weights of step {trained.kept_step}, {trained.seconds:.0f} s, "
        f"{trained.trainable_parameters:,} trainable parameters{_size(trained.adapter_bytes)}",
    }
    reasons = [f"- Spoke for it: {reason}" for reason in origin.reasons]
    return ["## Where it comes from\n", *(f"- {key}: {value}" for key, value in facts.items()), *reasons, ""]
