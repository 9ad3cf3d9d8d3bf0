"""Loading a base model, attaching a method, training for a budget of tokens, and scoring."""
