"""State and speed of a run, read from the files in its folder alone."""
