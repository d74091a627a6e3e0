"""A page that shows a run while it is done, and afterwards: in Dask's dashboard, or served on its own."""
