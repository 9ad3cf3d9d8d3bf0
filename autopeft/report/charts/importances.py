"""Which settings decided how well a trial did."""

from autopeft.report.importances import LEAST_TRIALS, Importances
from autopeft.report.section import Section, figure, paragraph
from autopeft.report.story import Story
from autopeft.report.svg.draw import image, rectangle, shorten, text, text_width
from autopeft.report.svg.scale import Scale

_ROW = 40.0


def importance(story: Story) -> Section:
    """Returns the section: a bar for each setting, across methods and within the one tried most, or why not."""
    read = sum(bool(outcome.curve) for outcome in story.outcomes)
    body = "".join(_figure(found) for found in story.importances)
    if not body:
        body = paragraph(f"Importances need {LEAST_TRIALS} trials that were read and that differ; {read} were read.")
    return Section(key="importances", title="What mattered", body=body)


def _figure(found: Importances) -> str:
    caption = (
        f"Across {found.across}, {found.trials} trials: the share of the variance between losses at the first reading "
        "that each setting explains, alone or with others (fANOVA on ranks). Few trials say little, and of settings "
        "that went together either may get the other's share."
    )
    return figure(lambda width: _draw(found, width), caption)


def _draw(found: Importances, width: float) -> str:
    x = Scale(0.0, max(found.shares.values()), 0.0, width - text_width("100 %") - 10)
    parts = []
    for position, (name, share) in enumerate(found.shares.items()):
        top = position * _ROW
        parts += [
            text(0, top + 13, shorten(name, width), "label"),
            rectangle(0, top + 19, x.at(share), 12, "bar"),
            text(x.at(share) + 6, top + 29, f"{100 * share:.0f} %", "tick"),
        ]
    return image(width, _ROW * len(found.shares), f"Importance of settings across {found.across}", parts)
