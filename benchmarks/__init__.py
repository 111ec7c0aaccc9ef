"""How fast and how large, always as a ratio of two things measured in one run: `make bench`, `python -m benchmarks`.

One module a topic, each with `measure(small) -> (rows, raw)`: rows of the table, and every time behind them.
"""
