"""The search: spaces, the study, the runner of trials, and the comparison at the end."""
