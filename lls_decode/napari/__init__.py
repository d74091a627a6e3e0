"""Plugin for napari that opens tables as points and rendered pyramids as pictures. Nothing here imports napari."""
