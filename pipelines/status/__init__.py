"""State and speed of a run, read only from the files in its folder."""
