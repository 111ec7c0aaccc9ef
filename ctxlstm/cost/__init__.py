"""Cost: FLOPs, bytes and seconds, predicted and measured (paper, section 4.3; hours and GB of Table 2).

predicted    counted from the model itself; `predict` is the main entry point
finetuning   bytes that training the backbone takes
measured     a training step's seconds and memory on this machine
records      both, side by side, as records on disk
"""

from importlib import import_module
from typing import Any

MODULES = ("finetuning", "measured", "predicted", "records")


def __getattr__(name: str) -> Any:
    """Submodules and the names of `predicted`, imported on first use."""
    if name in MODULES:
        return import_module(f"{__name__}.{name}")
    predicted = import_module(f"{__name__}.predicted")
    if not name.startswith("_") and hasattr(predicted, name):
        return getattr(predicted, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
