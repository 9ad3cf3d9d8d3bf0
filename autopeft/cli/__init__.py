"""The command line: one file per command, one output sink."""
