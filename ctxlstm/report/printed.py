"""What the paper's own printed numbers say about its claims (sections 4.2 and 4.3).

Each function returns a finding: the printed numbers fit the claim (1), contradict it (-1), or do neither (0).
Numbers that fit prove nothing, since they are the claim's own; `claims.CLAIMS` says which findings decide.
"""

from collections.abc import Callable

import numpy as np

from ctxlstm import paper
from ctxlstm.report.rules import DECLINE, Finding, overfit_sign

# Published before March 2022, one model family each; UCF101, mean over the three official splits.
EARLIER = (
    ("TSN, two-stream", 94.2, "arXiv 1608.00859"),
    ("TS-LSTM, two-stream", 94.1, "arXiv 1703.10667"),
    ("I3D, two-stream, Kinetics", 98.0, "arXiv 1705.07750"),
)
MEAN_FRAMES = 186  # average frames of a UCF101 clip, counted; the paper's code base reads the first 28


def table_2(column: str, a: str, b: str, gain: int) -> Finding:
    """Is a better than b in Table 2? `column` top1, hours or memory_gb; gain -1 where less is better."""
    printed = paper.table2().set_index("model")[column]
    text = f"Table 2 prints {printed[a]:g} for {a} and {printed[b]:g} for {b}"
    return Finding(1 if gain * (printed[a] - printed[b]) > 0 else -1, text, ("paper, Table 2",))


def best_of_table_1() -> Finding:
    """Is the highest printed accuracy the one named in the text?"""
    named, cells = paper.RESULTS["best_top1"].value, paper.table1().query("row == @paper.OURS")["top1"]
    return Finding(
        1 if cells.max() == named else -1,
        f"the highest cell of Table 1 is {cells.max()} %",
        ("paper, Table 1",),
    )


def fits_table_1(level: float, after: int) -> Finding:
    """Whether Table 1's cells after an epoch can all reach a level: if they can, the table fits the claim."""
    found = table_1_allows(level, after)
    return Finding(found.sign or 1, found.text, found.records)


def starts_higher() -> Finding:
    """Is Context-LSTM's lowest cell of Table 1 above the baseline's first? Then it is in any order."""
    cells = paper.table1().dropna(subset="epoch")
    ours, baseline = (cells[cells["row"] == row] for row in (paper.OURS, paper.BASELINE))
    lowest, first = ours["top1"].min(), baseline.loc[baseline["epoch"].idxmin()]
    text = f"its cells of Table 1 are all at least {lowest} %, the baseline's at epoch {first['epoch']} is {first['top1']} %"
    return Finding(int(lowest > first["top1"]), text, ("paper, Table 1",))


def late_jitter() -> Finding:
    """Standard deviation of Table 1's cells after epoch 200, as read here, beside the baseline's: four cells each."""
    spread = _late_cells(lambda cells: cells["top1"].std())
    text = (
        f"after epoch 200 the four cells of Table 1, as read here, vary by {spread[0]:.2f} points, the baseline's by "
        f"{spread[1]:.2f}"
    )
    return Finding(1 if spread[0] < spread[1] else -1, text, ("paper, Table 1",))


def late_trend() -> Finding:
    """Trend of Table 1's cells after epoch 200, as read here, against the limit for a decline."""
    slope, _ = _late_cells(lambda cells: 100 * np.polyfit(cells["epoch"].astype(float), cells["top1"], 1)[0])
    text = f"after epoch 200 the four cells of Table 1, as read here, change by {slope:+.1f} points per 100 epochs"
    return Finding(1 if slope > DECLINE else -1, text, ("paper, Table 1",))


def _late_cells(measure: Callable) -> tuple[float, float]:
    cells = paper.table1().dropna(subset="epoch").query("epoch > 200")
    ours, baseline = (float(measure(cells[cells["row"] == row])) for row in (paper.OURS, paper.BASELINE))
    return ours, baseline


def table_1_allows(level: float, after: int) -> Finding:
    """Can all cells of Table 1 after an epoch reach the level? It can contradict "stably above", not prove it."""
    cells = paper.table1().query("row == @paper.OURS").dropna(subset="epoch")
    late = cells[cells["epoch"] > after]
    reach = int((cells["top1"] >= level).sum())
    lowest = late.loc[late["top1"].idxmin()]
    text = (
        f"Table 1 has {len(late)} epochs after {after}, and {reach} of its {len(cells)} cells reach {level} %, whichever "
        f"epochs they belong to; lowest as read here: {lowest['top1']} % at epoch {lowest['epoch']} "
        f"({lowest['status']}, confidence {lowest['confidence']})"
    )
    return Finding(-1 if reach < len(late) else 0, text, ("paper, Table 1",))


def log_overfits() -> Finding:
    """The gap between training and test set in the paper's own log (Fig. 4)."""
    log = paper.training_log()
    train, test = (log[log["part"] == part] for part in ("train", "test"))
    ratio = test["loss"].mean() / train["loss"].mean()
    gap = train["top1"].mean() - test["top1"].mean()
    text = (
        f"the paper's own log, epochs 233 to 235: mean of {len(train)} training losses {train['loss'].mean():.4f}, "
        f"test losses {test['loss'].min():.3f} to {test['loss'].max():.3f}, ratio {ratio:.0f}; training top-1 "
        f"{train['top1'].mean():.1f} %, test {test['top1'].mean():.1f} %"
    )
    return Finding(overfit_sign(ratio, gap), text, ("paper, Fig. 4",))


def beside_earlier() -> Finding:
    """92.2 % beside earlier publications, which use another protocol: nothing follows."""
    ours = paper.RESULTS["best_top1"].value
    listed = ", ".join(f"{name} {top1} % ({source})" for name, top1, source in EARLIER)
    text = (
        f"not comparable: the paper's {ours} % is the best epoch on a random split, which has clips of one source video in "
        f"both parts; the earlier published {listed} are means over the official splits"
    )
    return Finding(0, text, ("paper, Table 1", *(source for _, _, source in EARLIER)), "not comparable")


def whole_clips() -> Finding:
    """Does the paper print that all test clips and all their frames were read?"""
    log = paper.training_log()
    tested, clips = int(log.loc[log["part"] == "test", "clips"].min()), paper.DATA["clips"].value
    whole = tested * 4 == clips
    videos = f"{tested:,} of {clips:,} clips tested, {'the whole' if whole else 'not the'} quarter"
    frames = paper.SETTINGS.get("frames")
    if frames is None:
        text = f"videos: {videos}; frames: not stated (its code base reads 28 of {MEAN_FRAMES} on average)"
        return Finding(0 if whole else -1, text, ("paper, Fig. 4",))
    text = f"videos: {videos}; frames of a clip: {frames.value}"
    return Finding(
        1 if whole and frames.value == "all" else -1, text, ("paper, Fig. 4", f"paper, {frames.where}")
    )
