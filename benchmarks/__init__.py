"""Speed and memory, always as a ratio of two measurements from one run: `make bench`, `python -m benchmarks`.

One module per topic, each with `measure(small) -> (rows, raw)`: rows of the table, and all measurements.
"""
