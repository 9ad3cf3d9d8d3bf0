"""Data in, split and encoded; what the rest of autopeft asks of a user's data."""

from autopeft.data._chats import ChatForm, chat_form
from autopeft.data._encode import (
    EncodedData,
    EncodedDataset,
    batches,
    encode,
    encode_rows,
    row_length,
    token_lengths,
    token_limit,
)
from autopeft.data._inputs import input_rows
from autopeft.data._language import language_of, script_of
from autopeft.data._load import Data, class_weights, folds, label_counts, load_data, load_like
from autopeft.data._metrics import UserMetric, load_metric
from autopeft.data._near_duplicates import near_duplicate_groups, normalise
from autopeft.data._row_cache import RowCache, row_cache
from autopeft.data._rows import text_of
from autopeft.data._sources import Source, hub_parts, read_rows
from autopeft.data._tables import delimiter_of

__all__ = [
    "ChatForm", "Data", "EncodedData", "EncodedDataset", "RowCache", "Source", "UserMetric", "batches", "chat_form",
    "class_weights", "delimiter_of", "encode", "encode_rows", "folds", "hub_parts", "input_rows", "label_counts",
    "language_of", "load_data", "load_like", "load_metric", "near_duplicate_groups", "normalise", "read_rows",
    "row_cache", "row_length", "script_of", "text_of", "token_lengths", "token_limit",
]  # fmt: skip
