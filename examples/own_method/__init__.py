"""An example: a method of one's own, as a package of somebody else would have it."""
