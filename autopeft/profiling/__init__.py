"""Hardware, model and task, profiled before anything is trained."""
