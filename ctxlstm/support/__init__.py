"""What every station relies on: files that stay whole, threads, a Dask client. Nothing is about the paper."""
