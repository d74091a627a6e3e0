"""Drift from the sample's own structure: windows of time, their displacements, and the curve that fits them.

No picture of the whole field is made. A grid with a fixed number of voxels gives the rough displacement of two
windows; then pairs of localizations within a few kernel widths are counted, for any size of the field. Windows have
equal lengths first, and are divided where the curve bends by more than six uncertainties. At most 8 million rows,
evenly spread, are held in memory.
"""
