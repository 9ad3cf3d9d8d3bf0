"""An inspected adapter's numbers are those of the update itself, read from its files without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from autopeft.errors import FileFormatError, ModelError
from autopeft.inspection import inspect_adapter
from autopeft.inspection.folder import read_adapter
from autopeft.inspection.spectrum import (
    effective_rank,
    entanglement_profile,
    significant,
    singular_values,
    stable_rank,
)
from autopeft.methods._codes import START_FILE

PAIR = "base_model.model.model.layers.{}.self_attn.{}"


def write(folder, pairs, **config):
    """Writes an adapter folder from (layer, module) → (A, B)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for (layer, module), (down, up) in pairs.items():
        tensors[f"{PAIR.format(layer, module)}.lora_A.weight"] = down.astype(np.float32)
        tensors[f"{PAIR.format(layer, module)}.lora_B.weight"] = up.astype(np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "lora_alpha": 8, "r": 4, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def random_pair(generator, rank=4, rows=24, columns=40, size=1.0):
    return generator.normal(size=(rank, columns)), size * generator.normal(size=(rows, rank)).reshape(rows, rank)


def test_a_variant_whose_factors_are_not_the_updates_is_not_read_as_a_product(tmp_path):
    """Block-diagonal factors are saved folded: multiplied as they lie there, they are the update of nothing."""
    pair = {(0, "q_proj"): random_pair(np.random.default_rng(0))}
    assert len(read_adapter(write(tmp_path / "plain", pair)).pairs) == 1
    folded = read_adapter(write(tmp_path / "folded", pair, use_bdlora={"nblocks": 2}))
    assert folded.pairs == ()
    assert len(folded.others) == 2


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(2, 33), st.integers(2, 33), st.integers(0, 99))
def test_singular_values_are_those_of_the_product(rank, rows, columns, seed):
    """The factors' QR gives the same values as the product itself, and their ranks stay within the rank."""
    generator = np.random.default_rng(seed)
    down, up = random_pair(generator, rank, rows, columns)
    values = singular_values(down, up, 2.0)
    wanted = np.linalg.svd(2 * up @ down, compute_uv=False)[: len(values)]
    assert np.allclose(values, wanted)
    assert 1 - 1e-9 <= effective_rank(values) <= rank + 1e-9
    assert 1 - 1e-9 <= stable_rank(values) <= rank + 1e-9
    assert 1 <= significant(values) <= rank


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(2, 17), st.integers(2, 17), st.integers(0, 99))
def test_entanglement_is_that_of_the_update_cut_by_cut(rank, rows, columns, seed):
    """Every cut's entropy from the factors is the one of the padded update reshaped at that cut."""
    generator = np.random.default_rng(seed)
    down, up = random_pair(generator, rank, rows, columns)
    m, n = (int(np.ceil(np.log2(size))) for size in (rows, columns))
    padded = np.zeros((2**m, 2**n))
    padded[:rows, :columns] = up @ down
    padded /= np.linalg.norm(padded)
    wanted = []
    for cut in range(1, m + n):
        shares = np.linalg.svd(padded.reshape(2**cut, -1), compute_uv=False) ** 2
        shares = shares[shares > 1e-15]
        wanted.append(float(-(shares * np.log(shares)).sum()))
    assert np.allclose(entanglement_profile(down, up), wanted, atol=1e-5)


def test_known_spectra():
    """Equal values fill the rank, a single one is rank one, and nothing is nothing."""
    assert effective_rank(np.ones(5)) == pytest.approx(5)
    assert stable_rank(np.ones(5)) == pytest.approx(5)
    assert significant(np.ones(5)) == 5
    assert effective_rank(np.array([3.0, 0, 0])) == pytest.approx(1)
    assert significant(np.array([3.0, 0.01, 0.01])) == 1
    assert (effective_rank(np.zeros(3)), stable_rank(np.zeros(3)), significant(np.zeros(3))) == (0, 0, 0)
    assert entanglement_profile(np.zeros((2, 4)), np.zeros((8, 2))) == ()


def test_scales_follow_the_config(tmp_path):
    """Norms are of the scaled update: alpha over rank, over its root where the config says so, and by pattern."""
    generator = np.random.default_rng(0)
    pairs = {(0, "q_proj"): random_pair(generator), (0, "v_proj"): random_pair(generator)}
    norms = {module: np.linalg.norm(up @ down) for (_, module), (down, up) in pairs.items()}
    plain = inspect_adapter(write(tmp_path / "a", pairs, alpha_pattern={"v_proj": 4}))
    assert {layer.name.rpartition(".")[2]: layer.norm for layer in plain.layers} == pytest.approx(
        {"q_proj": 2 * norms["q_proj"], "v_proj": norms["v_proj"]}, rel=1e-5
    )
    assert plain.notes == ()
    begun = inspect_adapter(write(tmp_path / "c", pairs, init_lora_weights="pissa"))
    assert "began as 'pissa'" in begun.notes[0]
    rooted = inspect_adapter(write(tmp_path / "b", pairs, use_rslora=True))
    assert rooted.layers[0].norm == pytest.approx(4 * norms["q_proj"], rel=1e-5)


def test_flat_and_full_spectra_ask_for_more_rank(tmp_path):
    """Where every direction is used alike, higher ranks are suggested; where one is, a lower one."""
    full = {(i, "q_proj"): (np.eye(4, 40), np.eye(24, 4)) for i in range(6)}
    assert "try ranks 8 and 16" in inspect_adapter(write(tmp_path / "full", full)).suggestions[0]
    one = np.diag([1.0, 0.01, 0.01, 0.01])
    wasted = {(i, "q_proj"): (one @ np.eye(4, 40), np.eye(24, 4)) for i in range(6)}
    assert "Try rank 1." in inspect_adapter(write(tmp_path / "wasted", wasted)).suggestions[0]
    few = {(i, "q_proj"): ((one if i < 3 else np.eye(4)) @ np.eye(4, 40), np.eye(24, 4)) for i in range(5)}
    assert (
        "some all of it: try a method that adapts the rank"
        in inspect_adapter(write(tmp_path / "few", few)).suggestions[0]
    )
    between = {(i, "q_proj"): (np.diag([1, 0.7, 0.4, 0.1]) @ np.eye(4, 40), np.eye(24, 4)) for i in range(6)}
    assert inspect_adapter(write(tmp_path / "between", between)).suggestions == ()


def test_layers_that_hardly_moved_are_counted(tmp_path):
    """Quiet first layers suggest the last ones, a quiet kind of module its leaving out."""
    shape = np.diag([1, 0.7, 0.4, 0.1]) @ np.eye(4, 40)
    early = {(i, "q_proj"): (shape, (0.001 if i < 2 else 1.0) * np.eye(24, 4)) for i in range(6)}
    found = inspect_adapter(write(tmp_path / "early", early))
    assert found.hardly_moved == pytest.approx(1 / 3)
    assert "last:4" in found.suggestions[0]
    kinds = {
        (i, kind): (shape, size * np.eye(24, 4))
        for i in range(4)
        for kind, size in (("q_proj", 1), ("v_proj", 1), ("k_proj", 1e-3))
    }
    assert "k_proj hardly moved in any layer" in inspect_adapter(write(tmp_path / "kinds", kinds)).suggestions[0]
    still = {(0, "q_proj"): (shape, np.zeros((24, 4)))}
    assert "No layer moved at all" in inspect_adapter(write(tmp_path / "still", still)).suggestions[0]


def test_other_kinds_get_norms(tmp_path):
    """An adapter that is no pair of factors has the norm of each tensor, and says so."""
    save_file({"scale": np.full(4, 2.0, dtype=np.float32)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    found = inspect_adapter(tmp_path)
    assert (found.norms, found.layers, found.hardly_moved) == ({"scale": 4.0}, (), None)
    assert "norms of its tensors alone" in found.notes[-1]


def test_bfloat16_is_read(tmp_path):
    """A file in bfloat16 gives the values that torch would read."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    value = torch.linspace(-3, 3, 24).reshape(4, 6).bfloat16()
    save_torch({"x": value}, tmp_path / "trained.safetensors")
    assert inspect_adapter(tmp_path).norms["x"] == pytest.approx(float(value.float().norm()), rel=1e-6)


def test_damaged_pickled_and_missing_adapters_are_refused(tmp_path):
    """A file cut short, a pickle, a broken config and an empty folder are one clear error each."""
    generator = np.random.default_rng(0)
    folder = write(tmp_path / "cut", {(0, "q_proj"): random_pair(generator)})
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    with pytest.raises(ModelError, match="is cut short"):
        inspect_adapter(folder)
    weights.write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match="no safetensors file"):
        inspect_adapter(folder)
    with pytest.raises(ModelError, match="holds no adapter"):
        inspect_adapter(tmp_path)
    with pytest.raises(ModelError, match=r"There is no such folder\. .* hf download"):
        inspect_adapter(tmp_path / "none")
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"whole model, .* give the adapter that was merged into it"):
        inspect_adapter(tmp_path / "merged")
    (tmp_path / "adapter_model.bin").write_bytes(b"cposix\nsystem\n(S'touch hit'\ntR.")
    with pytest.raises(ModelError, match="is a pickle"):
        inspect_adapter(tmp_path)
    write(tmp_path / "bad", {}).joinpath("adapter_config.json").write_text("{")
    with pytest.raises(FileFormatError, match="not valid JSON"):
        inspect_adapter(tmp_path / "bad")


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_adapter_whose_training_diverged_is_refused(tmp_path, broken):
    """Of a factor, or of any other tensor, that holds no numbers nothing can be told: its name and folder are."""
    down, up = random_pair(np.random.default_rng(0))
    up[0, 0] = broken
    folder = write(tmp_path / "pair", {(3, "q_proj"): (down, up)})
    with pytest.raises(ModelError, match=r"layers\.3\.self_attn\.q_proj in .*pair holds NaN or infinity: its training"):
        inspect_adapter(folder)
    (tmp_path / "other").mkdir()
    save_file({"scale": np.full(4, broken, dtype=np.float32)}, tmp_path / "other" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"scale in .*other holds NaN or infinity"):
        inspect_adapter(tmp_path / "other")


def test_no_torch_is_needed(tmp_path):
    """Inspecting a low-rank adapter imports neither torch nor peft."""
    folder = write(tmp_path / "a", {(0, "q_proj"): random_pair(np.random.default_rng(0))})
    code = (
        "import sys; from autopeft.inspection import inspect_adapter; "
        f"inspect_adapter({str(folder)!r}); assert not {{'torch', 'peft', 'transformers'}} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_start_from_codes_is_read_and_said(tmp_path):
    """The config that plain peft must not find says as much of the factors, which hold their start."""
    folder = write(tmp_path / "start", {(0, "q_proj"): random_pair(np.random.default_rng(0))})
    plain = inspect_adapter(folder)
    (folder / "adapter_config.json").rename(folder / START_FILE)
    started = inspect_adapter(folder)
    assert started.layers == plain.layers != ()
    assert not any("repair of a quantized base" in note for note in plain.notes)
    assert any("repair of a quantized base" in note for note in started.notes)
