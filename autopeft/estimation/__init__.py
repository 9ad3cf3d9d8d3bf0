"""What a setup is expected to cost, memory and time, before any weight is loaded: traced, or drafted by formula."""

from autopeft.estimation.estimate import draft, estimate

__all__ = ["draft", "estimate"]
