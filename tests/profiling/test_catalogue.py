"""Rules of `profiles/hardware/`: every entry is valid, named by its file, sourced, and physically plausible."""

import pytest

from autopeft.errors import FileFormatError
from autopeft.profiling import catalogue
from autopeft.profiling.catalogue import card_names, find_card, load_card

DTYPES = {"float32", "tfloat32", "bfloat16", "float16", "int8"}
# Dense rates by the vendors' datasheets, as anchors against a figure with sparsity slipping in.
ANCHORS = {
    "a100-80gb": ("bfloat16", 312), "h100-sxm": ("bfloat16", 989), "rtx-4090": ("bfloat16", 165),
    "rtx-3090": ("bfloat16", 71), "t4": ("float16", 65), "v100-32gb": ("float16", 125), "l4": ("bfloat16", 121),
    "mi300x": ("bfloat16", 1307), "gaudi2": ("bfloat16", 432), "tpu-v5e": ("bfloat16", 197),
}  # fmt: skip


def test_catalogue_is_as_wide_as_promised():
    """At least forty-five cards from consumer to data centre."""
    assert len(card_names()) >= 45


@pytest.mark.parametrize("name", card_names())
def test_entry_is_valid_and_plausible(name):
    """Half precision is not slower than single, bandwidth and memory are in the range of what is sold."""
    card = load_card(name)
    assert set(card.tflops) <= DTYPES
    single = card.tflops.get("float32", 0)
    for dtype in ("tfloat32", "bfloat16", "float16"):
        assert card.tflops.get(dtype, single) >= single
    if "int8" in card.tflops and "float16" in card.tflops:
        assert 0.9 <= card.tflops["int8"] / card.tflops["float16"] <= 4.1
    assert 60e9 <= card.bandwidth_bytes_per_second <= 8e12
    assert 4 << 30 <= card.memory_bytes <= 288 << 30
    assert card.memory_bytes % (1 << 30) == 0
    assert 0.9 * card.memory_bytes <= (card.usable_bytes or card.memory_bytes) <= card.memory_bytes
    assert card.source.address.startswith("https://")
    assert (card.compute_capability is not None) == (card.vendor == "NVIDIA")


def test_rates_are_dense():
    """Known cards stand with their dense rate, half of what is advertised with sparsity."""
    for name, (dtype, rate) in ANCHORS.items():
        assert load_card(name).tflops[dtype] == pytest.approx(rate, rel=0.01), name


@pytest.mark.parametrize("name", ["mi250x", "max-1550"])
def test_a_card_of_two_devices_is_planned_as_one_of_them(name):
    """Half of a card is all that one process can fill where software sees two devices: 64 GiB of 128."""
    card = load_card(name)
    assert card.memory_bytes == 64 << 30
    assert "half of the vendor's figures" in card.note


def test_bfloat16_follows_the_compute_capability():
    """NVIDIA's cards have a bfloat16 rate from compute capability 8.0 on, and none below."""
    for card in (load_card(name) for name in card_names()):
        if card.compute_capability and set(card.tflops) != {"float32"}:
            assert ("bfloat16" in card.tflops) == (float(card.compute_capability) >= 8.0), card.name


def test_reported_names_are_one_cards_own():
    """A name by which the driver reports a card finds that card and no other."""
    owners: dict[str, str] = {}
    for card in (load_card(name) for name in card_names()):
        for reported in card.reported_as:
            assert owners.setdefault(reported, card.name) == card.name
    for reported, name in owners.items():
        found = find_card(reported)
        assert found is not None
        assert found.name == name
    assert find_card("NVIDIA GeForce") is None


def test_bad_entry_names_its_file(tmp_path, monkeypatch):
    """An unknown key or a name that is not the file's is an error of that file."""
    text = (catalogue._folder() / "t4.yaml").read_text()
    monkeypatch.setattr(catalogue, "_folder", lambda: tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(FileFormatError, match=r"mine\.yaml names 't4'"):
        load_card("mine")
    (tmp_path / "t4.yaml").write_text(text + "memori_bytes: 3\n")
    with pytest.raises(FileFormatError, match=r"(?s)t4\.yaml.*`memori_bytes` is not a known key.*memory_bytes"):
        load_card("t4")
