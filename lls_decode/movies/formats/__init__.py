"""Movie formats of other programs; each module opens one family of files as a `lls_decode.movies.Movie`."""
