"""Reading of movies written by other programs, and their conversion to zarr; each format is a module in `formats`."""

from lls_decode.movies.convert import convert
from lls_decode.movies.movie import Movie
from lls_decode.movies.opening import open_movie

__all__ = ["Movie", "convert", "open_movie"]
