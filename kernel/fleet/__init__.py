"""Fleets: one set of files over many databases and schemas, in waves, on threads or on a Dask cluster.

The ledger of each target is the only truth. A run is recorded in a journal and never trusted: the next one asks again.
"""
