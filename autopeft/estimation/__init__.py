"""What a setup is expected to cost: memory and time, by formula, before any weight is loaded."""

from autopeft.estimation.estimate import estimate

__all__ = ["estimate"]
