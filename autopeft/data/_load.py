"""Loads a data set: columns found, rows in one form, labels ordered, splits made or kept."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from autopeft.data._columns import find_columns
from autopeft.data._metrics import load_metric
from autopeft.data._near_duplicates import near_duplicate_groups, normalise
from autopeft.data._rows import by_role, text_of
from autopeft.data._sources import Source, read_rows
from autopeft.data._splits import Stratum, assign, strata_of_numbers
from autopeft.errors import DataError, invalid, unknown
from autopeft.tasks import Row, get_task
from autopeft.values.data import DataCounts, DataSpec
from autopeft.values.names import Task

FRACTIONS = (0.8, 0.1, 0.1)
SPLITS = ("train", "validation", "test")
Rows = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set ready to be encoded.

    Attributes:
        rows: rows by role, by ``train``, ``validation`` and ``test``.
        notes: what the user should know about the source.
    """

    spec: DataSpec
    rows: Rows
    counts: DataCounts = field(default_factory=DataCounts)
    notes: tuple[str, ...] = ()


def load_data(
    source: str,
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    labels: Sequence[str] | None = None,
    token_limit: int | None = None,
    seed: int = 0,
    fractions: tuple[float, float, float] = FRACTIONS,
) -> Data:
    """Returns a data set with its task type, columns, labels and splits, those not given being found or made.

    Given validation and test splits are kept as they are; missing ones are cut from train, stratified, and
    without a near-duplicate in another split.

    Args:
        source: a file, a folder, or a hub name.
        task: a task type; None to tell it from the columns.
        columns: the source's column by role, for those that the names do not tell.
        metric: a metric of the task or ``package.module:function``; None for the task's own default.
        labels: label names in the order of their ids; None for sorted order.
        token_limit: tokens per row; None for the tokenizer's own limit.
        seed: of the split.
        fractions: shares of train, validation and test.

    Raises:
        DataError: the source cannot be read, has no rows, no such column, one class only, too many missing
            values, or too few rows to split.
        InvalidValueError: there is no such task type or metric, or the fractions do not add up to 1.
    """
    if len(fractions) != len(SPLITS) or abs(sum(fractions) - 1) > 1e-6 or min(fractions) <= 0:
        raise invalid("fractions", "the split", "three positive shares that add up to 1", fractions)
    if task is not None:
        get_task(task)
    found = read_rows(source)
    chosen, roles = find_columns(
        found.splits["train"], cast("Task | None", task), columns or {}, source, found.label_names
    )
    given, dropped, notes = _usable(found, chosen, roles, source)
    order = _labels(given, chosen, _known_labels(labels, found, roles), source)
    groups = _groups(given)
    made = _cut(given, groups, chosen, fractions, seed, source)
    _check_seen(made, chosen, source)
    rarest = _rarest_share(made["train"], chosen, order)
    spec = DataSpec(
        source=source, task=chosen, columns=roles, labels=order, token_limit=token_limit, fractions=fractions,
        seed=seed, metric=_metric(metric, chosen, rarest),
    )  # fmt: skip
    counts = DataCounts(duplicates=_duplicates(given), leaked=_leaked(given, groups), dropped=dict(dropped))
    return Data(spec=spec, rows=made, counts=counts, notes=notes)


def load_like(spec: DataSpec, source: str) -> Data:
    """Returns another source prepared as the spec says: its columns, label order, token limit, split and weights.

    Raises:
        DataError: as `load_data`, and where the source has a label that the spec does not know.
    """
    data = load_data(
        source, task=spec.task, columns=spec.columns, metric=spec.metric, labels=spec.labels or None,
        token_limit=spec.token_limit, seed=spec.seed, fractions=spec.fractions,
    )  # fmt: skip
    return replace(data, spec=replace(data.spec, class_weights=spec.class_weights))


def _usable(
    found: Source, task: Task, roles: Mapping[str, str], source: str
) -> tuple[dict[str, list[Row]], Counter[str], tuple[str, ...]]:
    given: dict[str, list[Row]] = {}
    dropped: Counter[str] = Counter()
    notes = [f"The split {name!r} is not used." for name in found.ignored]
    for split in (name for name in SPLITS if found.splits.get(name)):
        rows = found.splits[split]
        if split == "test" and _is_withheld(rows, roles, found):
            notes.append("The test split has no labels; a test split is cut from train.")
            continue
        given[split], missing = by_role(rows, task, roles, found.label_names, f"{source} ({split})")
        dropped.update(missing)
    if task == "multiple-choice":
        dropped.update(_keep_even(given))
    if empty := [split for split, rows in given.items() if not rows]:
        raise DataError(f"{source} has no usable row in {' and '.join(empty)}.")
    return given, dropped, tuple(notes)


def _is_withheld(rows: Sequence[Mapping[str, Any]], roles: Mapping[str, str], found: Source) -> bool:
    column = roles.get("label", "")
    return column in found.label_names and all(row.get(column) == -1 for row in rows)


def _keep_even(given: dict[str, list[Row]]) -> Counter[str]:
    """Keeps the rows with the most common number of choices, since a batch needs as many for each row."""
    sizes = Counter(len(row["choices"]) for rows in given.values() for row in rows)
    common = sizes.most_common(1)[0][0] if sizes else 0
    for split, rows in given.items():
        given[split] = [row for row in rows if len(row["choices"]) == common]
    return Counter({"another number of choices": count} if (count := sizes.total() - sizes[common]) else {})


def _known_labels(labels: Sequence[str] | None, found: Source, roles: Mapping[str, str]) -> tuple[str, ...]:
    if labels is not None:
        return tuple(labels)
    return found.label_names.get(roles.get("label", roles.get("tags", "")), ())


def labels_of(row: Row, task: Task) -> Sequence[str]:
    """Returns a row's labels: one for a classified text, the tags of a tagged row, else none."""
    if not get_task(task).has_labels:
        return ()
    return row["tags"] if "tags" in row else (row["label"],)


def _labels(given: Rows, task: Task, known: tuple[str, ...], source: str) -> tuple[str, ...]:
    """Returns the label names in the order of their ids: the known order, else numbers ascending, else by name."""
    if not get_task(task).has_labels:
        return ()
    seen = Counter(label for rows in given.values() for row in rows for label in labels_of(row, task))
    if known and (strange := [label for label in seen if label not in known]):
        raise DataError(
            f"{source} has the label {strange[0]!r} ({seen[strange[0]]} times), unseen in training; "
            f"known are {', '.join(known)}.\nRemove or rename these rows."
        )
    if (len(seen) < 2 and len(known) < 2) or len({x for row in given["train"] for x in labels_of(row, task)}) < 2:
        raise DataError(
            f"{source} has one label only ({next(iter(seen))!r}): there is nothing to tell apart.\n"
            "Name another column (--column label=…) or add rows of other labels."
        )
    if known:
        return known
    numeric = all(label.lstrip("-").isdecimal() for label in seen)
    # "O", the tag of what is no entity, comes first so that an untrained head has it as id 0.
    return tuple(sorted(seen, key=lambda label: (label != "O", int(label) if numeric else 0, label)))


def _groups(given: Rows) -> dict[str, list[int]]:
    """Returns the near-duplicate group of each row by split, numbered across the splits."""
    groups = near_duplicate_groups([text_of(row) for rows in given.values() for row in rows])
    positions = iter(groups)
    return {split: [next(positions) for _ in rows] for split, rows in given.items()}


def strata(rows: Sequence[Row], task: Task) -> list[Stratum]:
    """Returns what each row is stratified by: its label, its number's bin, or nothing."""
    if task == "regression":
        return strata_of_numbers([row["label"] for row in rows])
    return [row["label"] if get_task(task).has_labels and "label" in row else "" for row in rows]


def _cut(
    given: dict[str, list[Row]],
    groups: Mapping[str, list[int]],
    task: Task,
    fractions: Sequence[float],
    seed: int,
    source: str,
) -> dict[str, list[Row]]:
    shares = {split: share for split, share in zip(SPLITS, fractions, strict=True) if split not in given}
    if not shares:
        return given
    held = {group for split in given if split != "train" for group in groups[split]}
    rows = given["train"]
    # A row that is also, nearly, in a given split stays in train: it must not decide two splits.
    free = [index for index, group in enumerate(groups["train"]) if group not in held]
    if not free:
        missing, held_in = " and ".join(shares), " and ".join(split for split in given if split != "train")
        raise DataError(
            f"All rows of train of {source} stand, nearly, in {held_in} too: none is left for {missing}.\n"
            f"Take from train what {held_in} holds, or give {missing} yourself."
        )
    shares = {"train": 1 - sum(shares.values()), **shares}
    kinds = strata(rows, task)
    parts = assign(
        [groups["train"][i] for i in free], [kinds[i] for i in free], shares, seed, by_size=task == "regression"
    )
    cut = {split: [rows[free[place]] for place in places] for split, places in parts.items()}
    stays = [row for row, group in zip(rows, groups["train"], strict=True) if group in held]
    cut["train"] = cut["train"] + stays
    return {split: cut[split] if split in cut else given[split] for split in SPLITS}


def _check_seen(made: Rows, task: Task, source: str) -> None:
    trained = {label for row in made["train"] for label in labels_of(row, task)}
    if task == "token-classification" or not trained:  # a rare tag may miss train without harm to its row
        return
    for split in ("validation", "test"):
        strange = {label for row in made[split] for label in labels_of(row, task)} - trained
        if strange:
            name = min(strange)
            raise DataError(
                f"The {split} split of {source} has the label {name!r}, unseen in training.\n"
                "Add training rows with it, or remove it."
            )


def label_counts(rows: Sequence[Row], task: Task) -> Counter[str]:
    """Returns how often each label occurs in the rows."""
    return Counter(label for row in rows for label in labels_of(row, task))


def _rarest_share(rows: Sequence[Row], task: Task, labels: Sequence[str]) -> float:
    counts = label_counts(rows, task)
    return min(counts[label] for label in labels) / counts.total() if labels else 1.0


def _metric(metric: str | None, task: Task, rarest_share: float) -> str:
    declared = get_task(task)
    if metric is None:
        return declared.default_metric(rarest_share)
    if ":" in metric:
        load_metric(metric)
    elif metric not in declared.metrics:
        raise unknown("metric", task, metric, declared.metrics)
    return metric


def _duplicates(given: Rows) -> int:
    return sum(len(rows) - len({normalise(text_of(row)) for row in rows}) for rows in given.values())


def _leaked(given: Rows, groups: Mapping[str, list[int]]) -> int:
    train = set(groups["train"])
    return sum(group in train for split in given if split != "train" for group in groups[split])


def class_weights(data: Data) -> tuple[float, ...]:
    """Returns balanced weights, rows ÷ (labels × rows of the label), counted on train; empty without labels.

    A label that train lacks weighs 0.
    """
    counts = label_counts(data.rows["train"], data.spec.task)
    labels = data.spec.labels
    return tuple(counts.total() / (len(labels) * counts[label]) if counts[label] else 0.0 for label in labels)


def folds(data: Data, k: int, seed: int = 0) -> Iterator[Data]:
    """Yields k data sets whose validation splits share out train and validation; test is untouched.

    Folds are stratified and keep near-duplicates together.

    Raises:
        InvalidValueError: k is below 2.
        DataError: a label has fewer distinct texts than there are folds.
    """
    if k < 2:
        raise invalid("folds", "the cross-validation", "at least 2", k)
    rows = [*data.rows["train"], *data.rows["validation"]]
    groups = near_duplicate_groups([text_of(row) for row in rows])
    names = [str(fold) for fold in range(k)]
    shares = dict.fromkeys(names, 1 / k)
    parts = assign(
        groups, strata(rows, data.spec.task), shares, seed,
        called=f"the {k} folds of a cross-validation", advice="take fewer folds (--folds; 1 for the plain split)",
        by_size=data.spec.task == "regression",
    )  # fmt: skip
    for name in names:
        held = set(parts[name])
        train = [row for index, row in enumerate(rows) if index not in held]
        validation = [rows[index] for index in parts[name]]
        yield replace(data, rows={"train": train, "validation": validation, "test": data.rows["test"]})
