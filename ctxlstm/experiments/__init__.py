"""Runs: from a notebook's parameters to records on disk (paper, section 4).

settings   parameters of the papermill notebooks
steps      one run from top to bottom: clips, split, features, training, record
runs       run records, written and read
packed     a finished study's records in a few files
sweep      many runs on dask.distributed
launch     one training in several processes
"""
