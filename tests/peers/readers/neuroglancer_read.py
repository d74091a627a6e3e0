"""Save every point of the spatial index that Neuroglancer reads: FOLDER OUT.npz; runs in Neuroglancer's environment.

The script checks that looking points up by id gives the same points. ``about`` holds the number of points of each
level and the ids of the points in a box.
"""

import json
import sys

import numpy as np
from neuroglancer.read_precomputed_annotations import AnnotationReader

path, out = sys.argv[1:]
reader = AnnotationReader(f"file://{path}")
names = [spec.id for spec in reader.properties]
levels = []
for index, level in enumerate(reader.spatial):
    found = []
    for cell in np.ndindex(*level.metadata["grid_shape"]):
        if cell in level:
            points = level[cell]
            assert 0 < len(points) <= level.metadata["limit"], (index, cell, len(points))
            low = np.array(reader.lower_bound) + np.array(cell) * level.metadata["chunk_size"]
            place = np.array([point.point for point in points])
            assert np.all((place >= low) & (place <= low + level.metadata["chunk_size"])), (index, cell)
            found += points
    levels.append(found)
points = [point for level in levels for point in level]
ids = np.array([int(point.id) for point in points])
columns = {name: np.array([point.props[number] for point in points]) for number, name in enumerate(names)}
place = np.array([point.point for point in points])
columns |= {f"at_{axis}": place[:, number] for number, axis in enumerate(reader.coordinate_space.names)}
for number in range(0, len(points), max(1, len(points) // 200)):
    same = reader.by_id[int(ids[number])]
    assert np.array_equal(same.point, points[number].point), number
    assert np.array_equal(same.props, points[number].props, equal_nan=True), number
middle = (np.array(reader.lower_bound) + reader.upper_bound) / 2
inside = reader.get_within_spatial_bounds(lower_bound=list(reader.lower_bound), upper_bound=list(middle))
about = {
    "levels": [len(level) for level in levels],
    "shapes": [list(level.metadata["grid_shape"]) for level in reader.spatial],
    "limits": [level.metadata["limit"] for level in reader.spatial],
    "units": [str(unit) for unit in reader.coordinate_space.units],
    "scales": list(map(float, reader.coordinate_space.scales)),
    "in_box": sorted(int(point.id) for point in inside),
    "middle": middle.tolist(),
}
np.savez(out, about=json.dumps(about), id=ids, **columns)
