"""Whatever a user gets wrong ends in one clear error: a code, one message, nothing on stdout, nothing written."""

import csv
import json
import re
import shutil

import pytest

from autopeft.methods import all_methods
from tests.toys import classification_csv, sentences


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return classification_csv(tmp_path_factory.mktemp("toy") / "toy.csv", rows=80)


@pytest.fixture
def model(tiny_models, tmp_path):
    """A copy of the tiny encoder, to be damaged."""
    return shutil.copytree(tiny_models["bert"], tmp_path / "model")


@pytest.fixture
def refused(autopeft, tmp_path):
    """Calls `autopeft` and checks everything that any refusal must be; returns the message."""

    def call(*arguments, code=2):
        found = autopeft(*arguments)
        assert found.code == code, found.err
        assert found.out == ""
        assert "Traceback" not in found.err
        messages = re.split(r"^Error: ", found.err, flags=re.MULTILINE)[1:]
        assert len(messages) == 1, found.err
        assert len(messages[0]) > 20
        assert not (tmp_path / "out").exists()
        return messages[0]

    return call


@pytest.fixture
def search(refused, tiny_models, toy, tmp_path):
    """Calls `autopeft search` on the tiny encoder and the toy table, with the given options instead or besides."""

    def call(*options, model=tiny_models["bert"], data=toy, code=2):
        out = ("--output", tmp_path / "out", "--trials", "1", "--trial-tokens", "500", "--folds", "1", "--json")
        return refused("search", "--model", model, "--data", data, *out, *options, code=code)

    return call


def table(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


DATA = {
    "missing.csv": (None, r"missing\.csv' does not exist"),
    "binary.csv": (bytes(range(256)) * 40, r"binary\.csv is a binary file"),
    "utf16.csv": (b"\xff\xfe" + bytes(range(1, 256)), r"utf16\.csv starts like UTF-16 but is not"),
    "empty.csv": (b"", r"empty\.csv holds no rows"),
    "header.csv": (b"text,label\n", r"header\.csv holds no rows"),
    "mixed.csv": (b"text,label\ncaf\xc3\xa9,y\n\x93so\x94,n\n" * 9, r"mixed\.csv mixes encodings"),
    "latin.csv": (b"text,label\ngood,y\ncaf\xe9,n\n" * 9, r"latin\.csv is not UTF-8 from line 3"),
    "folder.csv/": (b"", r"folder\.csv"),
    "broken.jsonl": (b'{"text": "a", "label": "b"}\n{"text"\n', r"line 2, is not valid JSON"),
    "sheet.xlsx": (b"PK\x03\x04", r"sheet\.xlsx has no known format"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_cannot_be_read(search, refused, tiny_models, tmp_path, name):
    """A file that is missing, damaged, empty or in two encodings is named with what is wrong, by both commands."""
    content, message = DATA[name]
    path = tmp_path / name.rstrip("/")
    if name.endswith("/"):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    assert re.search(message, search(data=path))
    assert re.search(message, refused("profile", "--model", tiny_models["bert"], "--data", path))


def test_a_file_without_permission(search, tmp_path, toy, monkeypatch):
    """A file that the system does not let us read is named."""
    from pathlib import Path

    path = tmp_path / "mine.csv"
    path.write_bytes(toy.read_bytes())
    real = Path.read_bytes

    def forbidden(self):
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    assert re.search(r"mine\.csv .*Permission denied", search(data=path))


def test_one_class(search, tmp_path):
    """Labels that are all the same cannot be learnt from."""
    data = table(tmp_path / "one.csv", ("text", "label"), [(text, "pos") for text, _ in sentences(60)])
    assert re.search(r"has one label only \('pos'\)", search(data=data))


def test_labels_missing_in_half_the_rows(search, tmp_path):
    """Half the labels missing is no accident to be skipped over; the count and the column are said."""
    rows = [(text, label if i % 2 else "") for i, (text, label) in enumerate(sentences(60))]
    data = table(tmp_path / "half.csv", ("text", "label"), rows)
    assert re.search(r"30 of 60 rows of .* have no label \(column 'label'\)", search(data=data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--column", "text=txt"), r"`?txt`?(.|\n)*Did you mean 'text'"),
        (("--column", "text"), r"`--column` of .* must be ROLE=NAME, such as text=review; got 'text'"),
        (("--column", "txet=text"), r"txet(.|\n)*Did you mean 'text'"),
        (("--time", "banana"), r"`--time` of .* must be a positive duration .* got 'banana'"),
        (("--time", "0s"), r"`--time` of .* must be a positive duration .* got '0s'"),
        (("--memory", "10Gib?"), r"must be .*24GiB.*; got '10Gib\?'"),
        (("--methods", "lorra"), r"must be one of .*; got 'lorra'\.\nDid you mean 'lora'"),
        (("--methods", "galore"), r"`methods` of .* must be methods; got 'galore'\.\ngalore is an optimizer"),
        (("--exclude", "lorra"), r"must be one of .*; got 'lorra'\.\nDid you mean 'lora'"),
        (("--exclude", ",".join(all_methods())), r"one method at least is left"),
        (("--task", "clasification"), r"Did you mean 'classification'"),
        (("--metric", "nope"), r"`metric` of classification must be one of accuracy.*; got 'nope'"),
        (("--metric", "acuracy"), r"Did you mean 'accuracy'"),
        (("--metric", "pkg:missing"), r"pkg(.|\n)*not found"),
        (("--metric", "operator:missing"), r"no function 'missing'"),
        (("--folds", "500"), r"`folds` of .* at most 20.*; got 500"),
        (("--folds", "2", "--repeats", "11"), r"`folds` of .* 11 repeats at most 20 .*; got 2"),
        (("--tokens", "none"), r"`--tokens` of .* must be a positive count such as 500k or 2M; got 'none'"),
        (("--cost", "5USD"), r"`--price` of .* must be a positive amount per hour .* got None"),
        (("--price", "1.2/h"), r"`--cost` of .* must be a positive amount .* got None"),
        (("--cost", "5USD", "--price", "0/h"), r"`--price` of .* got '0/h'"),
        (("--max-trainable", "0"), r"`--max-trainable` of .* must be a count such as 5M .*; got '0'"),
        (("--search-spaces", "/nowhere/at/all"), r"/nowhere/at/all"),
        (("--objective", "quality,forgeting"), r"`--objective` of .* got 'forgeting'\.\nDid you mean 'forgetting'"),
        (("--objective", "memory"), r"`--objective` of .* must be quality, alone or with others; got 'memory'"),
        (
            ("--objective", "quality,forgetting", "--general-text", "nowhere.txt"),
            r"general text nowhere\.txt cannot be",
        ),
        (("--track", "wanb"), r"`--track` of .* got 'wanb'\.\nDid you mean 'wandb'"),
        (("--dry-run", "--track", "wanb"), r"`--track` of .* got 'wanb'"),
        (("--dry-run", "--storage", "mysql://host/db"), r"`--storage` of a search must be the URL of a PostgreSQL"),
        (("--column", "text=text", "--column", "text=label"), r"`--column` of .* given once for each role; got 'text'"),
        (("--time", ""), r"`--time` of .* must be a positive duration .* got ''"),
        (("--repeats", "2"), r"`--repeats` of a search with --folds 1 must be left out; got 2"),
        (("--general-text", "mine.txt"), r"`--general-text` of .* where forgetting is no objective; got 'mine.txt'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_wrong_options(search, options, message):
    """A wrong value is answered with its option, what was expected, and the nearest name."""
    found = search(*options)
    assert re.search(message, found), found


def test_a_task_that_the_model_has_no_head_for(refused, search, tiny_models, tmp_path):
    """The task, the architecture and the tasks that it does have are named."""
    rows = [(f"{text}?", label) for text, label in sentences(60)]
    pairs = table(tmp_path / "pairs.csv", ("prompt", "completion"), rows)
    told = r"no head for the task '(generation|instruction)'.\nIt has one for .*classification"
    assert re.search(told, search(data=pairs, model=tiny_models["bert"]))
    described = ("--task", "generation", "--rows", "100", "--tokens-per-row", "20")
    assert re.search(told, refused("suggest", "--model", tiny_models["bert"], *described))
    assert re.search(told, refused("profile", "--model", tiny_models["bert"], "--task", "generation"))


def _without_config(folder):
    (folder / "config.json").unlink()


def _broken_config(folder):
    (folder / "config.json").write_text('{"model_type": "bert",')


def _unknown_architecture(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "berrt", "architectures": ["Berrt"]}))


def _truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _scrambled(folder):
    path = folder / "model.safetensors"
    path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])


def _missing_shard(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def _without_weights(folder):
    (folder / "model.safetensors").unlink()


def _without_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()


def _other_sizes(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))


def _other_names(folder):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({f"renamed.{key}": value for key, value in load_file(path).items()}, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_config, r"config\.json"),
        (_broken_config, r"config\.json is not valid JSON"),
        (_unknown_architecture, r"`model_type` of .* is 'berrt'(.|\n)*Did you mean 'bert'"),
        (_truncated, r"model\.safetensors is corrupted: it holds \d+ bytes"),
        (_scrambled, r"model\.safetensors is corrupted: its header"),
        (_missing_shard, r"names model-00002-of-00002\.safetensors, which is not in the folder"),
        (_without_weights, r"has no weights\.\nFetch"),
        (_without_tokenizer, r"has no tokenizer\.\nPut"),
        (_other_sizes, r"weights of .* not of the sizes in its config.json: .*intermediate"),
        (_other_names, r"weights of .* are not this architecture's: they lack"),
        (shutil.rmtree, r"is neither a folder nor a file here"),
    ],
)
def test_damaged_models(search, model, damage, message):
    """A folder without config, weights or tokenizer, and damaged files, are named before any trial."""
    damage(model)
    found = search(model=model)
    assert re.search(message, found), found
    assert str(model) in found


def test_an_unknown_card(refused, tiny_models):
    """A card that the catalogue lacks gets the nearest one's name."""
    described = ("--task", "classification", "--rows", "100", "--tokens-per-row", "20")
    for command in (("suggest", *described), ("profile",)):
        message = refused(*command, "--model", tiny_models["bert"], "--gpu", "rtx-3900")
        assert re.search(r"got 'rtx-3900'\.\nDid you mean 'rtx-\d+", message)


def test_a_budget_that_no_method_meets(search, refused, model):
    """Exit code 3, and every method with what it lacks in GiB and what would help."""
    config = json.loads((model / "config.json").read_text())
    large = {"hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 40, "num_attention_heads": 32}
    (model / "config.json").write_text(json.dumps({**config, **large}))
    (model / "model.safetensors").unlink()
    described = ("--task", "classification", "--rows", "100", "--tokens-per-row", "20")
    messages = [
        search("--memory", "1GiB", model=model, code=3),
        refused("suggest", "--model", model, *described, "--memory", "1GiB", code=3),
    ]
    for message in messages:
        for name in all_methods():
            lacks = rf"^\s*{name}: (lacks \d+(\.\d+)? GiB|.*not|.*needs|.*has none)"
            assert re.search(lacks, message, re.MULTILINE), (name, message)
        assert re.search(r"lora: lacks \d+(\.\d+)? GiB", message), message


SPACE = (
    "schema_version: 1\nmethod: lora\nlearning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}\n"
    "parameters:\n  rank: {choices: [4, 8]}\n  alpha: {choices: [16]}\n  dropout: {low: 0.0, high: 0.1}\n"
    "targets: [all-linear]\nlayers: [all]\nquantization: [none]\noptimizer: [adamw]\nbatch_size: [16]\n"
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("targets:", "target:", r"`target` is not a known key. Did you mean 'targets'"),
        ("rank:", "rnak:", r"`parameters.rnak` is not a parameter. Did you mean 'rank'"),
        ("[4, 8]", "[4, 80000]", r"`parameters.rank` must lie in the legal domain .*80000"),
        ("low: 1.0e-4", "low: 1.0e-1", r"`learning_rate` must have low ≤ high"),
        ("[all-linear]", "[al-linear]", r"`targets` .*al-linear.*Did you mean 'all-linear'"),
        ("[adamw]", "[adamv]", r"`optimizer` .*adamv.*Did you mean 'adamw'"),
        ("[adamw]", "[adamw]\nschedule: [linar]", r"`schedule` .*linar.*Did you mean 'linear'"),
        ("[none]", "[nf3]", r"`quantization` .*nf3.*Did you mean 'nf4'"),
        ("[all]", "[last:x]", r"`layers` .*last:x"),
        ("[16]\n", "[0]\n", r"`batch_size` .*0"),
        ("low: 1.0e-4, high: 1.0e-2, log: true", "low: a, high: b", r"`learning_rate.low"),
        ("low: 0.0, high: 0.1", "low: 0.0, high: 0.1, log: true", r"`parameters.dropout` .*log"),
        (SPACE, "a: [", r"lora\.yaml is not valid YAML"),
        (SPACE, "", r"lora\.yaml is not a valid SearchSpace"),
    ],
)
def test_wrong_search_spaces(search, tmp_path, old, new, message):
    """A search-space file is refused by file, key and value before anything is tried."""
    assert old in SPACE
    folder = tmp_path / "spaces"
    folder.mkdir()
    (folder / "lora.yaml").write_text(SPACE.replace(old, new))
    found = search("--search-spaces", folder, "--methods", "lora")
    assert re.search(message, found), found
    assert str(folder / "lora.yaml") in found


def test_another_study_in_the_folder(autopeft, tiny_models, toy, tmp_path):
    """A folder that holds another study is left as it was, and what differs is said."""
    from autopeft.files import plain, to_json, write_text
    from autopeft.tuning.budget import TrialSize
    from autopeft.tuning.folder import Settings

    out = tmp_path / "held"
    identity = {"seed": 7, "model": "x"}
    size = TrialSize(tokens=1, pruning_rows=1, scoring_rows=1)
    held = Settings(schema_version=1, identity=identity, size=size, tokens_per_second=1.0)
    write_text(out / "search.json", to_json(plain(held)))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for extra in ((), ("--resume",)):
        found = autopeft("search", "--model", tiny_models["bert"], "--data", toy, "--output", out, "--json", *extra)
        assert (found.code, found.out) == (2, "")
        assert found.err.count("Error: ") == 1
        assert re.search(r"Error: .*held holds another study: .*seed.* differ", found.err)
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.name != ".lock"} == before


def test_an_output_that_is_a_file(autopeft, tiny_models, toy, tmp_path):
    """A file where the folder should be is an error that names it."""
    path = tmp_path / "taken"
    path.write_text("mine")
    found = autopeft("search", "--model", tiny_models["bert"], "--data", toy, "--output", path)
    assert (found.code, found.out) == (2, "")
    assert re.search(r"Error: .*taken", found.err)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "--modell", "x"), "No such option: --modell"),
        (("serch",), "No such command 'serch'"),
        (("search", "--model", "x"), "Missing option '--data'"),
        (("suggest",), "Missing option '--model'"),
        (("search", "--model", "x", "--data", "y", "--trials", "many"), "Invalid value for '--trials'"),
        (("search", "--model", "x", "--data", "y", "--trials", "0"), "Invalid value for '--trials'"),
        (("methods", "lora", "ia3"), "unexpected extra argument"),
    ],
)
def test_wrong_usage(autopeft, arguments, message):
    """Unknown commands and options, missing ones and values of the wrong kind exit with 2."""
    found = autopeft(*arguments)
    assert (found.code, found.out) == (2, "")
    assert message in " ".join(re.sub(r"[│╭╮╰╯─]", " ", found.err).split())
    assert "Traceback" not in found.err


@pytest.mark.parametrize("arguments", [("--json",), ("lora",)])
def test_the_page_of_the_catalogue_is_the_whole_of_it(refused, arguments):
    """One entry, or JSON, is no page: what is asked for besides is refused rather than passed over."""
    message = refused("methods", "--markdown", *arguments)
    assert re.search("`--markdown` of autopeft methods must be given alone.*; got '(--json|lora)'", message)


@pytest.mark.parametrize("arguments", [("methods", "lorra"), ("fetch", "minilmm")])
def test_unknown_names_in_the_catalogues(refused, arguments):
    """The catalogues of methods and of what can be fetched offer the nearest name."""
    assert re.search("Did you mean '(lora|minilm)'", refused(*arguments, "--json"))


def test_a_card_is_found_by_its_beginning(refused):
    """A name without its memory stands for the card, not for a shorter name that looks alike."""
    assert "Did you mean 'a100-40gb'" in refused("profile", "--gpu", "a100")


def test_a_folder_that_cannot_be_made(refused, tmp_path):
    """A cache folder in the place of a file is named, before anything is fetched."""
    (tmp_path / "file").write_text("mine")
    message = refused("fetch", "chatterbot", "--into", tmp_path / "file" / "cache")
    assert re.search(r"file/cache cannot be made: Not a directory", message)


def test_a_head_of_another_size_is_drawn_anew(autopeft, model, toy, tmp_path):
    """A model that was tuned for five labels is taken for two: only its body is read."""
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(model, num_labels=5).save_pretrained(model)
    options = ("--dry-run", "--json", "--trial-tokens", "500", "--folds", "1", "--output", tmp_path / "out")
    found = autopeft("search", "--model", model, "--data", toy, *options)
    assert found.code == 0, found.err
    assert json.loads(found.out)["tokens"] == 500
    assert not (tmp_path / "out").exists()


def test_an_interrupted_command_exits_with_130(autopeft, monkeypatch):
    """Ctrl-C ends any command with the exit code that the documentation names, and without a traceback."""

    def interrupted(_paths):
        raise KeyboardInterrupt

    monkeypatch.setattr("autopeft.comparison.compare", interrupted)
    assert autopeft("compare", "one", "two").code == 130
