"""Interactive pictures: ipywidgets over pure functions.

Every widget NAME has a static twin `NAME_figure`, the same picture of the same state as a matplotlib Figure,
for readers without a running kernel. A `Predictor` is what the video widgets call `predict`.
"""

from ctxlstm.widgets.cascade import state_flow, state_flow_figure
from ctxlstm.widgets.clips import (
    confusion_browser,
    confusion_browser_figure,
    frame_browser,
    frame_browser_figure,
)
from ctxlstm.widgets.dashboard import record_dashboard, record_dashboard_figure
from ctxlstm.widgets.gates import (
    gate_explorer,
    gate_explorer_figure,
    sequence_stepper,
    sequence_stepper_figure,
)
from ctxlstm.widgets.splits import split_explorer, split_explorer_figure
from ctxlstm.widgets.stage import stage_explorer, stage_explorer_figure
from ctxlstm.widgets.video import Predictor, own_video, own_video_figure

__all__ = [
    "Predictor",
    "confusion_browser",
    "confusion_browser_figure",
    "frame_browser",
    "frame_browser_figure",
    "gate_explorer",
    "gate_explorer_figure",
    "own_video",
    "own_video_figure",
    "record_dashboard",
    "record_dashboard_figure",
    "sequence_stepper",
    "sequence_stepper_figure",
    "split_explorer",
    "split_explorer_figure",
    "stage_explorer",
    "stage_explorer_figure",
    "state_flow",
    "state_flow_figure",
]
