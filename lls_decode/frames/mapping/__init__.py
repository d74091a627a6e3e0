"""Mapping of stored frames to volumes and planes, from the metadata and the user's configuration."""
