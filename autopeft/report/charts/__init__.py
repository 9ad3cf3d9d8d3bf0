"""The report's sections, one file each: a function from the story to a section."""
