"""Campaigns: the same disturbance many times, at places that a seed chooses, and every end compared with an undisturbed one.

    python -m tests.campaigns kills --count 100          SIGKILL while rendering, extracting, training, packing
    python -m tests.campaigns mutations --count 10000    damaged videos
    python -m tests.campaigns flips --count 1000         one bit in a feature cache, a checkpoint, a packed study
    python -m tests.campaigns full_disk --step 4096      a disk that fills up at every page (root on Linux only)

Each prints what it counted as JSON, and one line for each thing that went wrong; then its exit status is 1. A short
form of each is in `tests/test_campaigns.py`.
"""
