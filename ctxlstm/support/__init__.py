"""What every station stands on: files that stay whole, threads, a Dask client. Nothing here knows of the paper."""
