"""What peft has and the catalogue leaves out, each with its reason."""

from collections.abc import Mapping

OMITTED: Mapping[str, str] = {
    "qalora": "Its layers exist for GPTQ-quantized bases alone, which no kept dependency writes or runs on a CPU.",
}
"""peft's name → why the catalogue has no entry for it."""
