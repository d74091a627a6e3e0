"""Emitters in host memory."""

import numpy as np

from lls_decode.emitters import Emitters

COLUMNS = {"frame": [3, 1, 2], "x_nm": [10, 20.5, 30], "y_nm": [1.0, 2.0, 3.0]}


def test_absent_columns_are_filled_with_unknown_values() -> None:
    emitters = Emitters.from_columns(COLUMNS)
    assert len(emitters) == 3
    assert emitters.frame.dtype == np.int64
    assert emitters.x_nm.tolist() == [10.0, 20.5, 30.0]
    assert np.isnan(emitters.z_nm).all()
    assert np.isnan(emitters.prob).all()
    assert emitters.id.tolist() == [-1, -1, -1]


def test_known_columns_of_a_table_are_copied() -> None:
    emitters = Emitters.from_columns({**COLUMNS, "photons": [5, 6, 7], "id": [7, 8, 9], "unrelated": [0, 0, 0]})
    assert emitters.photons.dtype == np.float64
    assert emitters.photons.tolist() == [5.0, 6.0, 7.0]
    assert emitters.id.tolist() == [7, 8, 9]


def test_select_by_mask_and_by_index() -> None:
    emitters = Emitters.from_columns({**COLUMNS, "id": [7, 8, 9]})
    assert emitters.select(emitters.frame > 1).id.tolist() == [7, 9]
    in_order = emitters.select(np.argsort(emitters.frame))
    assert in_order.frame.tolist() == [1, 2, 3]
    assert in_order.x_nm.tolist() == [20.5, 30.0, 10.0]


def test_emitters_can_be_empty() -> None:
    assert len(Emitters.from_columns({"frame": [], "x_nm": [], "y_nm": []})) == 0
