"""Pictures that are drawn tile by tile, so that they may be larger than memory: pyramids, and files in colour."""
