"""Web page that shows a run while it is active, and afterwards: in Dask's dashboard, or on a server of its own."""
