"""From what metadata and the user say to the map of frames: which stored frames make volumes and planes."""
