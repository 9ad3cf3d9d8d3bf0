"""What a low-rank adapter did to its model, read from its files alone."""

from autopeft.inspection.report import AdapterReport, LayerReport, inspect_adapter

__all__ = ["AdapterReport", "LayerReport", "inspect_adapter"]
