"""Rules of GGUF files: the structure is read from the metadata, as the installed transformers reads it."""

import pytest

from autopeft.errors import ModelError
from autopeft.profiling.model import read_model


@pytest.fixture
def gguf_file(tmp_path):
    """A Llama without weights worth the name: metadata, and one tensor as GGUF demands."""
    import gguf
    import numpy as np

    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(3)
    writer.add_context_length(128)
    writer.add_embedding_length(48)
    writer.add_feed_forward_length(80)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(264)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"t{index}" for index in range(264)])
    writer.add_tensor("token_embd.weight", np.zeros((264, 48), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_structure_is_read_from_the_metadata(gguf_file):
    """Sizes, tying and the file's own size are those of the GGUF file; a second call gives the same."""
    profile = read_model(str(gguf_file), "generation")
    assert (profile.model_type, profile.kind, profile.weight_format) == ("llama", "decoder", "gguf")
    assert (profile.layers, profile.hidden_size, profile.feed_forward_size) == (3, 48, 80)
    assert (profile.attention_heads, profile.key_value_heads, profile.vocabulary_size) == (4, 2, 264)
    assert profile.tied_embeddings  # there is no output tensor
    assert profile.weight_bytes == gguf_file.stat().st_size
    assert read_model(str(gguf_file), "generation") == profile


def test_damaged_metadata_gets_one_clear_error(gguf_file):
    """A file cut inside its metadata is named."""
    gguf_file.write_bytes(gguf_file.read_bytes()[:300])
    with pytest.raises(ModelError, match=r"tiny\.gguf cannot be read as a GGUF model"):
        read_model(str(gguf_file), "generation")


def test_missing_file_is_no_hub_name(tmp_path):
    """A path that ends in .gguf is never looked for on a hub."""
    with pytest.raises(ModelError, match="neither a folder nor a file here"):
        read_model("gone.gguf", "generation")
