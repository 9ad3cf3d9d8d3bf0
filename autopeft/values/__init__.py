"""Frozen values that pass between the stages; units stand in the names."""
