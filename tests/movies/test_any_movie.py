"""Any movie is read exactly or refused, and salvage gives exactly its whole frames."""

import numpy as np
import pytest

pytest.importorskip("tifffile")

from lls_decode.errors import InputError
from lls_decode.frames import open_source
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.any_movie import MAKERS

CASES = 800
GROUP = 40
CONVERTED = 20
"""One of this many cases is converted completely; the others are read as a conversion reads them."""


def opened(case, **options):
    movie = open_movie(case.path, Choices(**{**case.options, **options}))
    frames = np.concatenate([movie.read(i, i + 1) for i in range(movie.num_frames)])
    whole = movie.read(0, movie.num_frames)
    assert frames.astype(movie.dtype).tobytes() == whole.astype(movie.dtype).tobytes()
    return whole, movie


def equal(frames, truth):
    return frames.shape == truth.shape and frames.astype(truth.dtype).tobytes() == truth.tobytes()


def contains(truth, frames):
    """Return whether the frames are a subsequence of the truth."""
    at = 0
    for frame in frames:
        while at < len(truth) and not equal(frame, truth[at]):
            at += 1
        if at == len(truth):
            return False
        at += 1
    return True


@pytest.mark.parametrize("first", range(0, CASES, GROUP))
def test_any_movie_is_read_exactly_or_refused(first, tmp_path):
    refused = 0
    for seed in range(first, first + GROUP):
        folder = tmp_path / str(seed)
        folder.mkdir()
        case = MAKERS[seed % len(MAKERS)](folder, np.random.default_rng(seed))
        case.told = f"case {seed}: {case.told} {case.options}"
        error = ""
        try:
            frames, movie = opened(case)
            assert equal(frames, case.truth), case.told
            assert movie.losses == () or "lls" in case.told, case.told
            if seed % CONVERTED == 0:
                source = convert(case.path, tmp_path / f"{seed}.zarr", **case.options)
                size = source.layout
                every = np.stack(np.divmod(np.arange(size.num_frames), size.planes_per_volume), axis=1)
                assert equal(source.read_frames(every), case.truth), case.told
                assert open_source(tmp_path / f"{seed}.zarr").layout == size
        except InputError as refusal:
            error = str(refusal)
        refused += bool(error)
        assert not error or case.is_damaged, f"{case.told} was refused: {error}"
        if case.is_damaged and seed % len(MAKERS) in (0, 3, 4):
            check_salvage(case)
    assert 0 < refused < GROUP


def check_salvage(case):
    try:
        frames, movie = opened(case, salvage=True)
    except InputError as refusal:
        frames, movie, error = None, None, str(refusal)
    if frames is None:
        assert case.may_refuse, f"{case.told} has whole frames: {error}"
        return
    if case.whole is None:
        assert contains(case.truth, frames), case.told
    else:
        assert equal(frames, case.truth[case.whole]), case.told
    if len(frames) < len(case.truth):
        assert movie.losses, case.told
