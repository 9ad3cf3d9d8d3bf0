"""Chooses and tunes the parameter-efficient fine-tuning method for your model, your data and your GPU."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopeft.api import estimate, hyperparameter_search, profile, search, suggest
    from autopeft.environment import trust_remote_code
    from autopeft.integration.pruning import AutoPeftPruningCallback
    from autopeft.tuned import TunedConfig

__version__ = "0.1.0"
__all__ = [
    "AutoPeftPruningCallback",
    "TunedConfig",
    "__version__",
    "estimate",
    "hyperparameter_search",
    "profile",
    "search",
    "suggest",
    "trust_remote_code",
]

_HOMES = {
    "AutoPeftPruningCallback": "autopeft.integration.pruning",
    "TunedConfig": "autopeft.tuned",
    "estimate": "autopeft.api",
    "hyperparameter_search": "autopeft.api",
    "profile": "autopeft.api",
    "search": "autopeft.api",
    "suggest": "autopeft.api",
    "trust_remote_code": "autopeft.environment",
}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `autopeft --help` stays fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'autopeft' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
