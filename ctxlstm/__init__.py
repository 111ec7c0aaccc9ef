"""Context-LSTM on UCF101: one module a station that data passes.

A video becomes frames, frames become features, features a prediction, predictions a metric, metrics a run record,
records a table. Imports point only upwards in this list:

    paper         the published numbers
    ucf101        clips, splits, the leak
    cache, stored   where generated things are kept; the feature cache on disk, written and read
    stickdrawing, stickfigures   the embedded data set
    video         frames of a clip
    backbone      CNNs, frozen unless they are fine-tuned
    augment       random views of a clip
    pieces, features   frames to feature sequences, piece by piece
    cluster       the same on dask.distributed: many processes, many machines
    gates         Eqs. 12-17
    parts, heads, models   the paper's two models and what they are compared with
    evaluation    metrics, intervals, tests
    measurement, cost   predicted and measured FLOPs, bytes and seconds
    checkpoint, device, loop, training   the loop, and how it survives being killed
    online        frames through the backbone in every epoch: the public code base's way, and fine-tuning
    settings      the notebooks' parameters
    runs, costrecord   run records, cost records
    experiment, sweep   one run from settings to record; many on dask.distributed
    distributed   one training in several processes (papermill_runs/data_parallel.ipynb)
    figures       pictures of one run
    studies       many runs of one study: what may be compared, intervals, paired tests
    tables, studytables, tabletext   the paper's tables and ours, from run records
    reportfigures, report   pictures of many runs; the whole account as files
    ledger_rules, ledger   every claim of the paper, the rule that decides it, and what became of it
    classroom     the chapters' small data
    probes, diagram   what a layer keeps, measured; the cascade as a drawing
    widgets       things to move and watch
    notebooks, exercises   pairs of .py and .ipynb; exercises released from solutions, and graded

Shape letters are the same everywhere: B clips, T frames, D features, H hidden units, K classes.
"""

__version__ = "0.1.0"
