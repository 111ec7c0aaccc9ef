"""Training a head (paper, section 4.2): cross-entropy, Adam, learning rate 0.001, batch 80, 300 epochs.

trainer      a training run from its start or its checkpoint to its record: `fit`, `Config`, `History`
loop         what happens in an epoch, and predictions
given        the inputs of a training run, checked
device       rounding, random numbers and Adam
checkpoint   what a killed training run resumes from
processes    several processes that share each batch
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Imported on first use: importing this package alone does not import PyTorch.
_WHERE = {
    "COLUMNS": "trainer",
    "Config": "trainer",
    "History": "trainer",
    "VERSION": "trainer",
    "fit": "trainer",
    "is_main_process": "processes",
    "predict": "loop",
}
__all__ = ["COLUMNS", "VERSION", "Config", "History", "fit", "is_main_process", "predict"]

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from ctxlstm.training.loop import predict as predict
    from ctxlstm.training.processes import is_main_process as is_main_process
    from ctxlstm.training.trainer import COLUMNS as COLUMNS
    from ctxlstm.training.trainer import VERSION as VERSION
    from ctxlstm.training.trainer import Config as Config
    from ctxlstm.training.trainer import History as History
    from ctxlstm.training.trainer import fit as fit


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
