"""The plugin for napari: tables as points, rendered pyramids as pictures. Nothing here imports napari."""
