"""Names made from settings."""

from collections.abc import Mapping


def variant(options: Mapping) -> str:
    """A head's options as a short text, "" for none: {"pool": None} is "pool=none"."""
    return ", ".join(
        f"{name}={'none' if value in (None, [], ()) else value}" for name, value in sorted(options.items())
    )
