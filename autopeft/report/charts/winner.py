"""The winner: its configuration, why it won, and what is there to use."""

from autopeft.report.section import Section, paragraph, table
from autopeft.report.story import Story
from autopeft.report.svg.scale import number, octets
from autopeft.report.words import chosen_trial, state, why
from autopeft.tuning.pareto import said
from autopeft.values.candidates import Candidate
from autopeft.values.outcomes import TrialOutcome


def winner(story: Story) -> Section:
    """Returns the section; of an unfinished search it tells the best trial so far."""
    title = "Winner" if story.result else "Best trial so far" if story.ranked else "No winner"
    body = paragraph(state(story), "state") if story.result is None else ""
    body += "".join(paragraph(sentence) for sentence in why(story))
    if story.ranked:
        config = story.result.winner.config if story.result else story.ranked[0].candidate
        body += table(("setting", "value"), [*_settings(config), *_costs(chosen_trial(story))], "facts")
    if story.result is not None:
        body += paragraph(f"The same, ready for full training: tuned.yaml in {story.folder.resolve().name}.")
    return Section(key="winner", title=title, body=body)


def _settings(candidate: Candidate) -> list[tuple[str, str]]:
    return [
        ("method", candidate.method),
        *(
            (key, number(value) if isinstance(value, float) else str(value))
            for key, value in candidate.parameters.items()
        ),
        ("targets", candidate.targets),
        ("layers", candidate.layers),
        ("learning rate", number(candidate.learning_rate)),
        ("batch", f"{candidate.batch_size} rows × {candidate.accumulation}"),
        ("optimizer", candidate.optimizer),
        ("quantization", f"{candidate.quantization}, {candidate.dtype}"),
    ]


def _costs(trial: TrialOutcome) -> list[tuple[str, str]]:
    known = [
        ("trainable parameters", None if trial.trainable_parameters is None else f"{trial.trainable_parameters:,}"),
        ("peak memory in the trial", None if trial.peak_bytes is None else octets(trial.peak_bytes)),
        ("tokens in the trial", f"{trial.tokens:,}"),
        _forgotten(trial),
        ("latency", None if trial.latency is None else said("latency", trial.latency.row_milliseconds)),
        ("size on disk", None if trial.adapter_bytes is None else octets(trial.adapter_bytes)),
    ]
    return [(name, value) for name, value in known if value is not None]


def _forgotten(trial: TrialOutcome) -> tuple[str, str | None]:
    found = trial.forgetting
    if found is None:
        return "forgetting", None
    name = found.measure.replace("_", " ").replace("lm", "LM")
    return f"{name} on general text", f"{found.before:.4g} before, {found.after:.4g} after ({found.rows} texts)"
