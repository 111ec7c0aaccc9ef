"""Context-LSTM on UCF101: one module per station that data passes.

A video becomes frames, frames become features, features a prediction, predictions a metric,
metrics a run record, records a table. Imports point only upwards in this list:

paper, ucf101, stickfigures, video, backbone, features, gates, models, training, evaluation,
runs, figures.

Shape letters are the same everywhere: B clips, T frames, D features, H hidden units, K classes.
"""

__version__ = "0.1.0"
