"""The figures of the report, from run records alone (paper Figs 3, 5 and 6, and some that the paper lacks).

As in `ctxlstm.figures`, these are pure functions from data to a closed `matplotlib.figure.Figure`, in one
style and with one colour per head. Records with different features or settings are rejected
(`studies.one_study`). Each figure says what its bands and bars show.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from ctxlstm import evaluation, figures, paper
from ctxlstm.experiments import runs
from ctxlstm.figures import (
    GREY,
    HEAD_COLOURS,
    PROTOCOL_COLOURS,
    PROTOCOL_NAMES,
    draw_heads,
    film_strips,
    new_figure,
)
from ctxlstm.report import studies, study_tables

if TYPE_CHECKING:
    import torch

STYLES = {studies.OURS: "-", studies.NO_POOL: "--", studies.BASELINE: "-."}
RIGHT, WRONG = "#0072B2", "#D55E00"


def _band(axes: Axes, rows: pd.DataFrame, column: str, model: str, scale: float = 1) -> None:
    """The mean over seeds as a line, and the range from the lowest to the highest seed as a band."""
    curves = scale * studies.histories(rows, column)  # (epochs, seeds)
    line = {"color": HEAD_COLOURS[model], "linestyle": STYLES[model]}
    axes.plot(curves.index, curves.mean(axis=1), linewidth=1.8 if len(curves) <= 100 else 1.2, **line)
    low, high = curves.min(axis=1), curves.max(axis=1)
    axes.fill_between(curves.index, low, high, color=HEAD_COLOURS[model], alpha=0.16, linewidth=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _line_legend(heads: dict[str, pd.DataFrame]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    for model, rows in heads.items():
        seeds = studies.whole(rows)["seed"].nunique()
        label = f"{model}, {seeds} seed{'s' * (seeds > 1)}"
        handles.append(Line2D([], [], color=HEAD_COLOURS[model], linestyle=STYLES[model], label=label))
    if any(rows["seed"].nunique() > 1 for rows in heads.values()):
        handles.append(Patch(color=GREY, alpha=0.25, linewidth=0, label="lowest to highest seed"))
    return handles


def _heads(records: pd.DataFrame, protocol: str, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    rows = studies.usual(records)
    heads = {name: studies.of(rows, name, protocol) for name in names}
    heads = {name: own for name, own in heads.items() if len(own)}
    if not heads:
        raise ValueError(f"no run of {', '.join(names)} under protocol {protocol}: nothing to draw")
    return heads


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", weight="bold")


def accuracy_over_epochs(records: pd.DataFrame, protocol: str = "paper") -> Figure:
    """Fig. 5: test top-1 of Context-LSTM and CNN-LSTM over epochs, mean and range over seeds.

    The paper's cells of Table 1 are grey: at their own epoch if training took 300 epochs, otherwise at the
    same share of the training, with the paper's epochs on a second axis. Open marks are cells whose epoch is
    our reading.
    """
    heads = _heads(records, protocol, (studies.OURS, studies.BASELINE))
    epochs = int(next(iter(heads.values()))["epochs"].iloc[0])
    factor, printed = epochs / paper.EPOCHS[-1], paper.table1().dropna(subset=["epoch"])
    with new_figure(9, 5.4) as figure:
        axes = figure.subplots()
        handles = _line_legend(heads)
        for model, rows in heads.items():
            _band(axes, rows, "test_top1", model, 100)
        for model, marker, name in ((studies.OURS, "o", "Context-LSTM"), (studies.BASELINE, "s", "CNN-LSTM")):
            own = printed[printed["model"] == model]
            open_mark = (own["status"] == "reconstructed").all()
            mark = {"color": GREY, "linestyle": "none", "marker": marker, "markersize": 6, "zorder": 4}
            mark |= {"markerfacecolor": "white" if open_mark else GREY}
            axes.plot(own["epoch"].astype(float) * factor, own["top1"], **mark)
            note = ", epoch as we read it" if open_mark else ""
            handles.append(Line2D([], [], label=f"paper, full UCF101: {name}{note}", **mark))
        axes.set(xlabel="epoch", ylabel="test top-1 (%)", xlim=(0, 1.02 * epochs), ylim=(None, 101))
        if epochs != paper.EPOCHS[-1]:
            scale = (lambda x: x / factor, lambda x: x * factor)
            above = axes.secondary_xaxis("top", functions=scale)
            above.set_xlabel("epoch of the paper (same share of its 300)", color=GREY)
            above.tick_params(colors=GREY)
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        _title(figure, f"Top-1 on the test set, {PROTOCOL_NAMES[protocol]}")
    return figure


def ablation_curves(records: pd.DataFrame, protocol: str = "paper") -> Figure:
    """Fig. 6: training loss and test top-1 of the three models of Table 2, mean and range over seeds."""
    heads = _heads(records, protocol, studies.TABLE2)
    with new_figure(11, 4.9) as figure:
        loss, top1 = figure.subplots(1, 2)
        for model, rows in heads.items():
            _band(loss, rows, "train_loss", model)
            _band(top1, rows, "test_top1", model, 100)
        loss.set(
            yscale="log", xlabel="epoch", ylabel="training loss (nats, log scale)", title="Training loss"
        )
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_locator(NullLocator())
        top1.set(xlabel="epoch", ylabel="test top-1 (%)", title="Top-1 on the test set")
        figure.legend(handles=_line_legend(heads), loc="outside lower center", ncols=4, frameon=False)
        _title(figure, f"The three models of Table 2, {PROTOCOL_NAMES[protocol]}")
    return figure


def leak(records: pd.DataFrame) -> Figure:
    """Top-1 of every head (mean of the late epochs) under every protocol, with the intervals of `study_tables.leak`."""
    figure = figures.heads_by_protocol(study_tables.leak(records).frame)
    figure.axes[0].set_xlabel("test top-1, mean of late epochs (%), with 95 % intervals")
    return figure


def full_size_leak(records: pd.DataFrame, siblings: pd.DataFrame) -> Figure:
    """The leak on all of UCF101, one frame per clip: heads by split, and the nearest training clip by siblings left.

    `records` are the runs of the middle-frame study; only the heads without an LSTM are drawn. `siblings` is
    the table of papermill_runs/siblings. The dashed line is the paper's 92.2 %.
    """
    printed = paper.RESULTS["best_top1"].value
    rows = records[records["model"].isin(("nearest_neighbour", "mean_linear"))]
    curve = siblings.dropna(subset="same_clips_top1")
    with new_figure(9, 3.3) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.9, 1))
        draw_heads(left, study_tables.leak(rows).frame)
        left.get_legend().remove()
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        left.axvline(printed, color=GREY, linestyle="--", linewidth=1.2, zorder=0)
        left.set(xlabel=f"test top-1 (%), one frame per clip; dashed: the paper's {printed}", xlim=(50, 104))
        for _, own in curve.groupby("seed"):
            colour = PROTOCOL_COLOURS["paper"]
            right.plot(
                own["left"].astype(int), 100 * own["same_clips_top1"], "o-", color=colour, linewidth=1.2
            )
        right.axhline(printed, color=GREY, linestyle="--", linewidth=1.2)
        right.set(
            xticks=range(4), xlabel="siblings left in training", ylabel="test top-1 (%)", ylim=(50, 100)
        )
    return figure


def batch_size(records: pd.DataFrame) -> Figure:
    """Top-1 over the batch size, one panel per protocol, and seconds per epoch; bars are 95 % intervals."""
    table = study_tables.batch_size_curve(records).frame
    if table.empty:
        raise ValueError("no head ran with several batch sizes: run papermill_runs/batch_size first")
    protocols = [name for name in studies.PROTOCOLS if name in set(table["protocol"])]
    names, sizes = dict.fromkeys(table["model"]), sorted(set(table["batch_size"]))
    lines = {name: {"color": HEAD_COLOURS[name], "marker": "osD^v"[i % 5]} for i, name in enumerate(names)}
    with new_figure(4.2 * (len(protocols) + 1), 4.8) as figure:
        panels = figure.subplots(1, len(protocols) + 1)
        for axes, protocol in zip(panels, protocols, strict=False):
            axes.sharey(panels[0])
            for i, name in enumerate(names):
                own = studies.of(table, name, protocol)
                x = own["batch_size"] * 2 ** (0.1 * (i - (len(names) - 1) / 2))  # bars side by side
                low, high, thin = (
                    100 * own["last_low"],
                    100 * own["last_high"],
                    {"markersize": 4, "alpha": 0.75},
                )
                axes.plot(x, 100 * own["last"], **lines[name])
                axes.vlines(x, low, high, color=HEAD_COLOURS[name], linewidth=1.3)
                axes.plot(x, 100 * own["chosen"], linestyle=":", linewidth=1.2, **thin, **lines[name])
            axes.set(title=PROTOCOL_NAMES[protocol].replace(" (", "\n("), ylabel="test top-1 (%)")
        for name, line in lines.items():
            own = table[table["model"] == name].groupby("batch_size")["seconds_per_epoch"].mean()
            panels[-1].plot(own.index, own, **line)
        devices = ", ".join(sorted(set(table["device"])))
        panels[-1].set(title=f"time per epoch\n({devices})", ylabel="seconds", ylim=(0, None))
        for axes in panels:
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("batch size (clips)")
        handles = [Line2D([], [], label=name, **line) for name, line in lines.items()]
        handles.append(Line2D([], [], color=GREY, label="last epoch, with 95 % interval"))
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="chosen by validation"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def readings(records: pd.DataFrame, protocol: str = "paper") -> Figure:
    """Every reading of Context-LSTM, and the paper's other models, as difference from the default reading.

    Dots are mean paired differences over common seeds (last epoch), bars their 95 % t-intervals; a dot
    without a bar has no interval (one seed, or the same difference in every seed).
    """
    table = study_tables.readings(records, protocol).frame
    default = table.iloc[0]
    table = table.iloc[1:].iloc[::-1].reset_index(drop=True)
    if table.empty:
        raise ValueError(
            f"there is no other reading or model under protocol {protocol}: run papermill_runs/ablation"
        )
    with new_figure(9, 1.9 + 0.36 * len(table)) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=1.2)
        for y, row in table.iterrows():
            colour = HEAD_COLOURS[row["model"]]
            low, high = 100 * row["difference_low"], 100 * row["difference_high"]
            axes.hlines(y, low, high, color=colour, linewidth=1.6)
            axes.plot(100 * row["difference"], y, "o", color=colour, markersize=8, markeredgecolor="white")
        labels = [f"{row['reading']}  ({row['parameters'] / 1e6:.2f} M)" for _, row in table.iterrows()]
        axes.set_yticks(range(len(table)), labels)
        axes.grid(visible=False, axis="y")
        seeds = sorted(set(table["compared_seeds"]))
        over = f"{seeds[0]} seeds" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
        axes.set(
            ylim=(-0.6, len(table) - 0.4),
            xlabel=f"difference in test top-1 from the default reading (points), paired over {over}",
        )
        title = f"default: {100 * default['last']:.1f} %, {default['parameters'] / 1e6:.2f} M parameters"
        _title(figure, f"Readings of Context-LSTM, {PROTOCOL_NAMES[protocol]}\n{title}")
    return figure


def pick_examples(table: pd.DataFrame, n: int) -> dict[str, pd.DataFrame]:
    """The test clips that `examples` shows, picked by rule: at most n of each kind, one per true class.

    Kinds are "right, most confident", "wrong, most confident" and, among the rest, "least confident"; ties
    are broken by clip name. A kind may be empty.
    """
    right = table["label"] == table["predicted"]
    order = table.sort_values(["probability", "name"], ascending=[False, True])
    kinds = {
        "right, most confident": order[right[order.index]],
        "wrong, most confident": order[~right[order.index]],
    }
    kinds = {name: rows.drop_duplicates("label").head(n) for name, rows in kinds.items()}
    used = set().union(*(rows["name"] for rows in kinds.values()))
    rest = order[~order["name"].isin(used)].sort_values(["probability", "name"])
    return kinds | {"least confident": rest.drop_duplicates("label").head(n)}


def examples(row: pd.Series, frames: Callable[[str], "np.ndarray | torch.Tensor"], n: int = 4) -> Figure:
    """Fig. 3: test clips of one run with the predicted class and its probability, and the true class when wrong.

    Each clip is shown by its first, middle and last frame; `pick_examples` picks the clips.

    Args:
        row: a run.
        frames: function from a clip's name to its frames, uint8 (T, H, W, 3) or a tensor (T, 3, H, W).
        n: most clips of each kind.
    """
    kinds = {name: rows for name, rows in pick_examples(runs.predictions(row), n).items() if len(rows)}
    height = max(len(rows) for rows in kinds.values())
    with new_figure(3.9 * len(kinds), 0.9 + 1.35 * height) as figure:
        grid = figure.subplots(height, len(kinds), squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for k, (kind, rows) in enumerate(kinds.items()):
            for i, clip in enumerate(rows.itertuples()):
                axes, ok = grid[i, k], clip.label == clip.predicted
                axes.imshow(film_strips([frames(clip.name)], 3)[0])
                text = f"{'✓' if ok else '✗'} {clip.predicted} {100 * clip.probability:.1f} %"
                text += "" if ok else f"\n    true: {clip.label}"
                axes.set_title(text, size="small", color=RIGHT if ok else WRONG, weight="normal")
            grid[0, k].annotate(
                kind, (0, 1), (0, 34), xycoords="axes fraction", textcoords="offset points", weight="bold"
            )
        figure.suptitle(
            f"{row['model']}, {PROTOCOL_NAMES[row['protocol']]}, seed {row['seed']}", x=0.01, ha="left"
        )
    return figure


def reliability_by_head(records: pd.DataFrame, protocol: str = "paper") -> Figure:
    """Calibration of the models of Table 2: top-1 against predicted probability, test clips of all seeds pooled.

    The titles give the expected calibration error of the pooled clips and its range over single runs, which
    is mostly higher because few clips make rough bins.
    """
    heads = _heads(records, protocol, studies.TABLE2)
    with new_figure(3.9 * len(heads), 5.4) as figure:
        panels = figure.subplots(
            2, len(heads), sharex=True, sharey="row", height_ratios=[3, 1], squeeze=False
        )
        for (model, rows), (upper, lower) in zip(heads.items(), panels.T, strict=True):
            tables = [runs.predictions(row) for _, row in studies.whole(rows).iterrows()]
            errors = [evaluation.calibration(table)[0] for table in tables]
            pooled = pd.concat(tables, ignore_index=True)
            # A clip tested under several seeds is a new observation each time.
            error, bins = evaluation.calibration(pooled.assign(name=pooled.index.astype(str)))
            middle, width = (bins["low"] + bins["high"]) / 2, 0.92 * (bins["high"] - bins["low"])
            colour = HEAD_COLOURS[model]
            upper.bar(middle, bins["top1"], width, color=colour, alpha=0.3)
            upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1.2)
            upper.plot(bins["probability"], bins["top1"], "o", color=colour, markersize=5)
            single = f"single runs {min(errors):.3f} to {max(errors):.3f}" if len(errors) > 1 else "one run"
            upper.set_title(f"{model}\nerror {error:.3f}\n({single})", size="medium")
            lower.bar(middle, bins["clips"], width, color=GREY)
            lower.set(xlabel="probability of the predicted class", xlim=(0, 1))
        panels[0, 0].set(ylabel="share of clips that are right", ylim=(0, 1.03))
        panels[1, 0].set(ylabel="clips")
        dots = {"marker": "o", "linestyle": "none", "label": "top-1 of a bin at its mean probability"}
        handles = [Line2D([], [], color=GREY, linestyle="--", label="perfectly calibrated")]
        handles.append(Line2D([], [], color=GREY, **dots))
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return figure
