"""Context-LSTM on UCF101: one module for each station on the way from a video to a claim.

A video becomes frames, frames become features, features a prediction, predictions a metric, metrics a run record,
records a table, tables a verdict. A student opens these:

    paper          the published numbers, as data
    ucf101         clips, splits, the leak (section 3.1)
    datasets       the same for your own clips
    video          frames of a clip (4.1)
    backbone       CNNs, frozen unless they are fine-tuned (3.4)
    gates          Eqs. 12-17, one gate per line (3.4)
    models         Context-LSTM, CNN-LSTM and what they are compared with (3.4, 3.5, 4.4)
    features       frames to feature sequences, kept on disk (3.2)
    training       the loop (4.2)
    evaluation     metrics (4.3)
    inference      how certain the metrics are: intervals, paired tests (4.3)
    figures        pictures of one run (Figs. 3 to 6)

and these work behind the notebooks:

    stickfigures   the generated data set
    experiments    settings, one run from top to bottom, records, many runs
    cost           FLOPs, bytes and seconds, predicted and measured (4.3)
    report         tables, figures and the ledger of claims, from records (4.3 to 6)
    classroom      the chapters' small data, what a layer keeps, the cascade as a drawing
    widgets        things to move and watch
    support        files that stay whole, threads, a Dask client

Imports point one way: support, paper, gates < video < ucf101 < datasets < evaluation, backbone, stickfigures
< inference < models, figures < features < training < experiments < cost < report < classroom < widgets (`make lint` checks it).

Shape letters are the same everywhere: B clips, T frames, D features, H hidden units, K classes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# The public names. Each is imported on first use, so that `import ctxlstm` is cheap (PEP 562).
_FACE = {
    "CNNLSTM": ("ctxlstm.models.cnn_lstm", "CNNLSTM"),
    "LSTM": ("ctxlstm.gates", "LSTM"),
    "Config": ("ctxlstm.training", "Config"),
    "ContextLSTM": ("ctxlstm.models.context_lstm", "ContextLSTM"),
    "build": ("ctxlstm.models", "build"),
    "extract_features": ("ctxlstm.features", "extract"),
    "fit": ("ctxlstm.training", "fit"),
    "index": ("ctxlstm.ucf101", "index"),
    "interval": ("ctxlstm.inference", "interval"),
    "leakage": ("ctxlstm.ucf101", "leakage"),
    "load_features": ("ctxlstm.features", "load"),
    "lstm_step": ("ctxlstm.gates", "lstm_step"),
    "read_frames": ("ctxlstm.video", "read_frames"),
    "split": ("ctxlstm.ucf101", "split"),
    "top1": ("ctxlstm.evaluation", "top1"),
}
__all__ = sorted(_FACE)

if TYPE_CHECKING:  # the same names, for editors and type checkers
    from ctxlstm.evaluation import top1 as top1
    from ctxlstm.features import extract as extract_features  # noqa: F401
    from ctxlstm.features import load as load_features  # noqa: F401
    from ctxlstm.gates import LSTM as LSTM
    from ctxlstm.gates import lstm_step as lstm_step
    from ctxlstm.models import CNNLSTM as CNNLSTM
    from ctxlstm.models import ContextLSTM as ContextLSTM
    from ctxlstm.models import build as build
    from ctxlstm.training import Config as Config
    from ctxlstm.training import fit as fit
    from ctxlstm.ucf101 import index as index
    from ctxlstm.ucf101 import leakage as leakage
    from ctxlstm.ucf101 import split as split
    from ctxlstm.video import read_frames as read_frames


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'ctxlstm' has no attribute {name!r}")
    module, attribute = _FACE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
