"""What can be named as data, and the one clear error for what cannot be read."""

import json

import pytest

from autopeft.data import load_metric, read_rows
from autopeft.errors import DataError

ROWS = [{"text": "good, really", "label": "y"}, {"text": 'so "bad"', "label": "n"}]


def as_lists(source):
    return {name: [dict(row) for row in rows] for name, rows in source.splits.items()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"good, really",y\n"so ""bad""",n\n'),
        ("semicolon.csv", 'text;label\ngood, really;y\n"so ""bad""";n\n'),
        ("a.tsv", 'text\tlabel\ngood, really\ty\nso "bad"\tn\n'),
        ("bom.csv", '\ufefftext,label\n"good, really",y\n"so ""bad""",n\n'),
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("a.json", json.dumps(ROWS)),
        ("named.json", json.dumps({"data": ROWS})),
    ],
)
def test_one_table_reads_alike_from_every_format(tmp_path, name, content):
    """The delimiter, quoting and container do not change the rows."""
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert as_lists(read_rows(str(path))) == {"train": ROWS}


def test_parquet_reads_as_rows(tmp_path):
    """Parquet files give the same rows."""
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    assert as_lists(read_rows(str(path))) == {"train": ROWS}


def test_tabs_with_a_stray_quotation_mark_lose_no_line(tmp_path):
    """A tab-separated text that opens with a quotation mark does not swallow the lines below."""
    path = tmp_path / "a.tsv"
    path.write_text('label\ttext\ny\t"good\nn\tbad\n', encoding="utf-8")
    assert [row["text"] for row in read_rows(str(path)).splits["train"]] == ['"good', "bad"]


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("form", ["text,label\na{0}b,y\nc,n\n", 'text,label\r\n"a{0}b",y\r\nc,n\r\n'])
def test_only_line_breaks_end_a_row(tmp_path, form, mark):
    """What Unicode too counts as the end of a line stays in its cell, as spreadsheets write it."""
    path = tmp_path / "a.csv"
    path.write_bytes(form.format(mark).encode())
    assert as_lists(read_rows(str(path))) == {
        "train": [{"text": f"a{mark}b", "label": "y"}, {"text": "c", "label": "n"}]
    }


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_text_end_as_their_system_has_it(tmp_path, end):
    """A text file of Windows holds the same texts as one of Linux."""
    path = tmp_path / "a.txt"
    path.write_bytes(f"good{end}{end}so\x0cso{end}bad".encode())
    assert as_lists(read_rows(str(path))) == {"train": [{"text": "good"}, {"text": "so\x0cso"}, {"text": "bad"}]}


def test_a_first_line_with_a_number_is_data(tmp_path):
    """A table without a header keeps its first row."""
    path = tmp_path / "a.tsv"
    path.write_text("1\t0.5\tgood\n2\t-0.5\tbad\n", encoding="utf-8")
    assert read_rows(str(path)).splits["train"][0] == {"column1": "1", "column2": "0.5", "column3": "good"}


def test_saved_data_set_keeps_splits_and_class_names(tmp_path):
    """A folder of the datasets library gives its splits and the names of its class ids."""
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["n", "y"])})
    table = datasets.Dataset.from_list([{"text": "a", "label": 1}], features=features)
    datasets.DatasetDict({"train": table, "dev": table}).save_to_disk(str(tmp_path / "saved"))
    found = read_rows(str(tmp_path / "saved"))
    assert set(found.splits) == {"train", "validation"}
    assert found.label_names == {"label": ("n", "y")}


def test_folder_of_files_named_like_splits(tmp_path):
    """Files called train, dev and test are the splits."""
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name, "label": "y"}))
    assert as_lists(read_rows(str(tmp_path)))["validation"] == [{"text": "dev", "label": "y"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.csv", b"text,label\ngood,y\ncaf\xe9,n\n", r"is not UTF-8 from line 3.*\n.*ISO-8859-1.*iconv"),
        ("mixed.csv", b"text,label\ncaf\xc3\xa9,y\n\x93so\x94,n\n", r"mixes encodings.*line 3.*\n.*WINDOWS-1252"),
        ("wide.csv", b"text,label\na,b\na,b,c\n", "line 3, has 3 cells where there are 2 columns"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', "line 2, is not valid JSON"),
        ("bad.json", b'{"text": "a"}', "must hold a list of objects"),
        ("lines.json", b'{"text": "a"}\n{"text": "b"}\n', r"not valid JSON at line 2.*\n.*rename it to lines\.jsonl"),
        ("bad.parquet", b"PAR1", "cannot be read as Parquet"),
        ("empty.csv", b"", "holds no rows"),
        ("header.csv", b"text,label\n", "holds no rows"),
        ("a.xlsx", b"", "has no known format"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(tmp_path, name, content, message):
    """One error names the file, the place and what to do."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(str(path))


def test_missing_file_is_not_taken_for_a_hub_name(tmp_path):
    """A path that does not exist is said to be missing."""
    with pytest.raises(DataError, match="does not exist"):
        read_rows(str(tmp_path / "gone.csv"))


def test_hub_name_without_a_hub_says_so():
    """A name that is no local file and cannot be loaded gives advice, not a traceback."""
    with pytest.raises(DataError, match=r"no local file and could not be loaded(.|\n)*hub name this machine can reach"):
        read_rows("nobody/nothing")


@pytest.mark.parametrize(
    ("error", "said"),
    [("RuntimeError", "Dataset scripts are no longer supported"), ("DatasetGenerationError", "the same columns")],
)
def test_hub_data_that_the_library_cannot_build_says_so(monkeypatch, error, said):
    """A data set that is a script, or whose files have unlike columns, is bad input and no defect."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    def fail(*_):
        raise {"RuntimeError": RuntimeError, "DatasetGenerationError": DatasetGenerationError}[error](said)

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=f"could not be loaded: {said}"):
        read_rows("somebody/something")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("train.csv", "train.jsonl"), r"2 train splits: train\.csv, train\.jsonl"),
        (("train.csv", "dev.csv", "val.csv"), r"2 validation splits: dev\.csv, val\.csv"),
    ],
)
def test_two_files_for_one_split_are_refused(tmp_path, names, said):
    """Neither of two files that stand for one split is left out without a word."""
    for name in names:
        (tmp_path / name).write_text("text,label\na,b\n")
    with pytest.raises(DataError, match=said):
        read_rows(str(tmp_path))


def test_two_lists_for_one_split_are_refused(tmp_path):
    """A JSON file with two validation splits is refused with their names."""
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": ROWS, "validation": ROWS, "eval": ROWS}))
    with pytest.raises(DataError, match="2 validation splits: validation, eval"):
        read_rows(str(path))


def test_folder_without_splits_is_refused(tmp_path):
    """Several files of other names are not merged silently."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("text,label\na,b\n")
    with pytest.raises(DataError, match="holds 2 data files and none is named like a split"):
        read_rows(str(tmp_path))


def test_own_metric_is_loaded_by_its_name():
    """A metric of the user's own is any importable function."""
    assert load_metric("operator:eq")([1], [1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accuracy", "must have the form package.module:function"),
        ("no_such_module_here:f", "is not found"),
        ("operator:nothing", "has no function 'nothing'"),
    ],
)
def test_own_metric_that_is_not_there_says_why(name, message):
    """Form, module and function each have their own error."""
    with pytest.raises(DataError, match=message):
        load_metric(name)
