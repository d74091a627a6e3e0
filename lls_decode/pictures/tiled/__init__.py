"""Pictures drawn tile by tile, so that they may be larger than memory: pyramids and colour files."""
