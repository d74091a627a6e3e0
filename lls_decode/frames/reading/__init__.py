"""Reading of the frames of a block from stored arrays, and handling of frames that cannot be read."""
