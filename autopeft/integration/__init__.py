"""autopeft inside somebody else's program: a Trainer that is there already, and a notebook."""
