"""Every number that the paper publishes, as data (arXiv 2203.06610, all sections).

Two flags keep apart what can be read off the page and what cannot:

- `printed`: the number appears in the paper as given here, at the place named in `where`;
- `reconstructed`: the value is printed, but which epoch it belongs to is our reading. This concerns
  the row "ours" of Table 1, whose cells are scrambled in the copy of the text that we work from;
  `confidence` says how sure the reading is.

Accuracies here are per cent, as in the paper; those of our own runs are fractions (0 to 1).
"""

from dataclasses import asdict, dataclass

import pandas as pd

EPOCHS = (30, 60, 90, 120, 150, 180, 210, 240, 270, 300)
BASELINE = "ResNet-50-LSTM"  # the paper's name for our `cnn_lstm`
OURS = "ours"  # the paper's name, in Table 1, for our `context_lstm`


@dataclass(frozen=True)
class Number:
    """One published value: its unit, the place in the paper, how it was read, and what to know about it."""

    value: float | int | str
    unit: str
    where: str
    status: str = "printed"
    remark: str = ""


SETTINGS = {
    "epochs": Number(300, "epochs", "4.2"),
    "batch_size": Number(80, "clips", "4.2"),
    "learning_rate": Number(0.001, "1", "4.2", remark="no schedule, weight decay or clipping is named"),
    "optimizer": Number("Adam", "", "4.2"),
    "loss": Number("cross-entropy", "", "4.2"),
    "backbone": Number("ResNet-50", "", "3.4, 3.5", remark="ImageNet weights; frozen or not: not stated"),
    "lstm_layers": Number(3, "layers", "4.2", remark="in every block; number of blocks not stated"),
    "hidden_size": Number(512, "units", "4.2"),
    "directions": Number(2, "directions", "3.3, Fig. 2", remark="of Context-LSTM; unclear for the baseline"),
    "fc1_inputs": Number(512, "features", "4.2", remark="2 x 512 = 1,024, pooled to 512 as read here"),
    "fc1_outputs": Number(256, "features", "4.2"),
    "fc2_inputs": Number(256, "features", "4.2"),
    "fc2_outputs": Number(101, "classes", "4.2"),
}

DATA = {
    "classes": Number(101, "classes", "3.1"),
    "clips": Number(13_320, "clips", "3.1"),
    "frame_width": Number(320, "pixels", "3.1"),
    "frame_height": Number(240, "pixels", "3.1"),
    "duration": Number(27, "hours", "3.1", remark="nearly"),
    "train_to_test": Number("3:1", "", "4.2", remark="random; seed not stated, groups not mentioned"),
    "train_clips": Number(9_990, "clips", "Fig. 4"),
    "test_clips": Number(3_330, "clips", "Fig. 4", remark="named 'validation' in the text; no third part"),
}

HARDWARE = {
    "system": Number("Ubuntu 16.04", "", "4.1"),
    "cpu": Number("Intel i7 8700", "", "4.1"),
    "ram": Number(32, "GB", "4.1"),
    "gpu": Number("NVIDIA GeForce 1080ti", "", "4.1"),
}

RESULTS = {
    "best_top1": Number(92.2, "%", "4.3, Tables 1 and 2", remark="highest of 300 epochs on the test set"),
    "best_top1_baseline": Number(90.7, "%", "Tables 1 and 2", remark="the text of 4.3 says 90"),
    "best_top1_baseline_text": Number(90, "%", "4.3", remark="both tables say 90.7"),
    "best_top1_no_pool": Number(91.0, "%", "Table 2"),
    "stable_top1": Number(91, "%", "4.3", remark="the test accuracy is said to stay above this"),
    "stable_after_epoch": Number(150, "epochs", "4.3", remark="only 4 cells of Table 1 reach 91.0"),
    "stable_after_epoch_fig5": Number(
        200, "epochs", "4.3, Fig. 5", remark="agrees with Table 1 as read here"
    ),
    "time": Number(55, "hours", "4.3, Table 2", remark="about; 300 epochs"),
    "time_baseline": Number(93, "hours", "4.3, Table 2", remark="about; 300 epochs"),
    "time_no_pool": Number(70, "hours", "Table 2", remark="300 epochs"),
    "memory": Number(3.6, "GB", "4.3, Table 2", remark="batch 80"),
    "memory_baseline": Number(5.5, "GB", "4.3, Table 2", remark="batch 80"),
    "memory_no_pool": Number(4.5, "GB", "Table 2", remark="batch 80"),
    "memory_saved": Number(2, "GB", "3.2, 4.3", remark="nearly"),
    "memory_nvidia_smi": Number(3_636, "MiB", "Fig. 4", remark="whole process, at epoch 235"),
    "others_10_clips": Number(87, "%", "4.3", remark="about; other systems on 10 clips, after [14]"),
}

# Table 1, row "ours", in the order of EPOCHS. The last five come from one unbroken run of cells that ends in
# the column "best"; the first five are certain as a set and put in increasing order.
_OURS_TOP1 = (85.3, 87.8, 89.3, 90.4, 90.8, 90.6, 91.0, 91.6, 91.2, 91.5)
_BASELINE_TOP1 = (78.7, 84.5, 87.8, 87.9, 88.6, 88.5, 88.7, 89.2, 89.5, 88.8)

# Fig. 4, the screen capture: (epoch, loss, top-1) of single training batches, every tenth batch.
_TRAIN_LOG = (
    (233, 0.001442, 100.00), (233, 0.028840, 98.75),
    (234, 0.004652, 100.00), (234, 0.001940, 100.00), (234, 0.001182, 100.00), (234, 0.027181, 98.75),
    (234, 0.004155, 100.00), (234, 0.006449, 100.00), (234, 0.000208, 100.00), (234, 0.006608, 100.00),
    (234, 0.000872, 100.00), (234, 0.000712, 100.00), (234, 0.000428, 100.00), (234, 0.002073, 100.00),
    (235, 0.002718, 100.00), (235, 0.000299, 100.00), (235, 0.080273, 98.75), (235, 0.006142, 100.00),
)  # fmt: skip
_TRAIN_CLIPS_SEEN = (8800, 9600, *range(800, 9601, 800), *range(800, 3201, 800))
_TEST_LOG = ((233, 0.5870, 91.53), (234, 0.6246, 92.10))


def table1() -> pd.DataFrame:
    """Table 1, top-1 on the test set, in long form.

    Columns: row (the paper's name), model (our name, empty for other people's systems), epoch (missing: the
    best of all epochs), top1 (%), status, confidence (certain, high, medium), remark.
    """
    rows = []
    for row, model, cells in ((BASELINE, "cnn_lstm", _BASELINE_TOP1), (OURS, "context_lstm", _OURS_TOP1)):
        for epoch, top1 in zip(EPOCHS, cells, strict=True):
            if row == BASELINE:
                rows.append((row, model, epoch, top1, "printed", "certain", ""))
            else:
                confidence = "high" if epoch >= 180 else "medium"
                rows.append((row, model, epoch, top1, "reconstructed", confidence, "epoch assigned by us"))
    rows += [
        (BASELINE, "cnn_lstm", None, 90.7, "printed", "certain", "best of 300 epochs"),
        (OURS, "context_lstm", None, 92.2, "printed", "certain", "best of 300 epochs"),
        ("3D ResNeXt-101 [14]", "", None, 89.8, "printed", "certain", "10 clips: another protocol"),
        ("SMART [13]", "", None, 74.6, "printed", "certain", "all clips; as the paper quotes it"),
    ]
    table = pd.DataFrame(rows, columns=["row", "model", "epoch", "top1", "status", "confidence", "remark"])
    return table.astype({"epoch": "Int64"})


def table2() -> pd.DataFrame:
    """Table 2: best top-1 (%), training time of 300 epochs (hours) and GPU memory (GB) of the three models.

    Columns: row (the paper's name), model (our name), top1, hours, memory_gb, status.
    """
    rows = [
        (BASELINE, "cnn_lstm", 90.7, 93, 5.5),
        ("Context-LSTM without MaxPooling", "context_lstm_no_pool", 91.0, 70, 4.5),
        ("Context-LSTM", "context_lstm", 92.2, 55, 3.6),
    ]
    return pd.DataFrame(rows, columns=["row", "model", "top1", "hours", "memory_gb"]).assign(status="printed")


def training_log() -> pd.DataFrame:
    """The legible lines of Fig. 4, epochs 233 to 235 of Context-LSTM, in the order of the screen.

    Columns: part (train: one batch of 80 clips; test: all 3,330 clips), epoch, clips (train: clips of the
    epoch seen so far; test: clips evaluated), loss (nats), top1 (%), status.
    """
    lines = [
        ("train", epoch, clips, loss, top1)
        for (epoch, loss, top1), clips in zip(_TRAIN_LOG, _TRAIN_CLIPS_SEEN, strict=True)
    ]
    lines += [("test", epoch, DATA["test_clips"].value, loss, top1) for epoch, loss, top1 in _TEST_LOG]
    table = pd.DataFrame(lines, columns=["part", "epoch", "clips", "loss", "top1"]).assign(status="printed")
    return table.sort_values("epoch", kind="stable", ignore_index=True)


def numbers() -> pd.DataFrame:
    """SETTINGS, DATA, HARDWARE and RESULTS as one table: group, name, value, unit, where, status, remark."""
    groups = {"settings": SETTINGS, "data": DATA, "hardware": HARDWARE, "results": RESULTS}
    rows = [
        {"group": group, "name": name, **asdict(number)}
        for group, entries in groups.items()
        for name, number in entries.items()
    ]
    return pd.DataFrame(rows)
