"""Tools for testing plug-ins: tiny models made from a config in code, and the contract every method must pass."""
