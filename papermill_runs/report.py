# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The report: every table, figure and claim of the paper, beside ours
#
# This notebook trains nothing. It reads run records and cost records, and writes one page (index.html), every table
# as CSV and Markdown and every figure as SVG and PNG. With your own records:
#
# ```
# papermill papermill_runs/report.ipynb out.ipynb -p results /my/results -p out /my/report
# ```
#
# `results` holds one folder a study (stickfigures, ucf101_subset, ucf101_paper, ...) with the runs that `sweep.ipynb`,
# `ablation.ipynb` and `batch_size.ipynb` wrote, as folders or packed, and a folder `cost` that `cost.ipynb` wrote.
#
# How to read it: *stick figures* are generated, and so are their numbers synthetic; *ucf101_subset* and the *ucf101_nine*
# studies are a few real classes. None of them can confirm or refute a claim about the whole of UCF101. *ucf101_midframes*,
# one frame of every clip, decides two. What would decide the others is named in the ledger.

# %% tags=["parameters"]
results: str = ""  # folder with a folder of run records for each study (default: papermill_runs/results)
out: str = ""  # folder that gets the report (default: papermill_runs/out/report)
root: str = ""  # folder with UCF101's clips: only to show real frames in Fig. 3, of studies made from them

# %%
from pathlib import Path

import pandas as pd
from IPython.display import display

from ctxlstm import cost, report
from ctxlstm.experiments import packed, runs
from ctxlstm.report import claims, figures, paper_tables, studies, study_tables
from ctxlstm.report.table import Table

# %%
results_folder = Path(results).expanduser() if results else runs.default_folder().parent / "results"
if not results_folder.is_dir():
    raise FileNotFoundError(
        f"there is no results folder {results}: give the folder that holds the studies' folders"
    )
out_folder = Path(out).expanduser() if out else runs.default_folder() / "report"
if packed.there(results_folder) or any(results_folder.glob("*/params.yaml")):
    raise ValueError(
        f"{results} holds runs itself: give the folder above it, which has a folder for each study"
    )


def shown(figure):
    """Show a figure small: its files beside the page are large, and this notebook stays below a megabyte."""
    figure.set_dpi(64)
    display(figure)


page = report.page.Report(out_folder, "Context-LSTM on UCF101: the paper's numbers beside ours")
KINDS = {"stickfigures": "synthetic", "ucf101": "real"}
SIBLINGS = ("by_sibling: the share of test clips whose nearest training clip is a sibling. same_clips_top1: only test clips with "
            "three siblings or more, so that its rows are of the same clips.")  # fmt: skip
PEER = ("low, high: 95 %, by source video. Differences are to the spatial stream; mcnemar_p takes clips as independent, flip_p "
        "(a sign flip by source video) decides. fused: the sum of both streams' scores.")  # fmt: skip

# %% [markdown]
# ## What there is
#
# A record that is half-written or was edited by hand is named here and left out of everything below.

# %%
found = {folder.name: runs.load(folder) for folder in sorted(results_folder.iterdir())
         if folder.is_dir() and folder.name != "cost" and not folder.name.startswith(".")}  # fmt: skip
left_out = [
    message.replace(f"{results_folder}/", "")
    for records in found.values()
    for message in records.attrs["left_out"]
]
found = {name: studies.one_study(records) for name, records in found.items() if len(records)}
costs = cost.records.load(results_folder / "cost") if (results_folder / "cost").is_dir() else pd.DataFrame()
page.heading("Records")
overview = pd.DataFrame(
    {"study": name, "data": KINDS.get(records["dataset"].iloc[0], "own clips"), "runs": len(records),
     "heads": records["model"].nunique(), "seeds": records["seed"].nunique(), "setting": studies.study(records),
     "code": ", ".join(sorted({versions["commit"] for versions in records["versions"]}))}
    for name, records in found.items()
)  # fmt: skip
page.text(f"{sum(map(len, found.values()))} run records and {len(costs)} cost measurements; {len(left_out)} records were "
          "not whole and were left out." + "".join(f" {message}" for message in left_out))  # fmt: skip
print(f"{len(left_out)} records left out", *left_out, sep="\n")
page.table(overview, "records", "Run records by study")

# %% [markdown]
# ## The verdicts in short
#
# Every claim of the paper is judged by a rule, written before the runs unless it says otherwise: holds, fails, or cannot be
# told yet. `printed` says whether the paper's own numbers fit the claim, `reproduced` what all studies here show together,
# whether they may decide or not. Rules, numbers and the command that would settle an open claim stand in the ledger at the
# end.

# %%
every = pd.concat(found.values(), ignore_index=True) if found else pd.DataFrame()
judged = claims.judge(every, costs)
judged["records"] = judged["records"].map("; ".join)
page.heading("The verdicts in short")
page.table(
    judged[["status", "printed", "reproduced", "says", "section", "claim"]].sort_values(
        "status", kind="stable"
    ),
    "verdicts",
    "Claims",
)

# %% [markdown]
# ## The leak
#
# Not in the paper, and first here, because everything else hangs on it. The paper splits the clips at random, so that
# nearly every test clip has a sibling from the same source video in training. `nearest_neighbour` learns nothing: it
# looks up the most similar training clip.

# %%
page.heading("The leak: what the split does")

# %% [markdown]
# What the nearest training clip owes to siblings, where `siblings.ipynb` has looked: test top-1 with all of a test clip's
# siblings in the training set, and with none to three of them.

# %%
if (results_folder / "siblings.csv").is_file():
    siblings = pd.read_csv(results_folder / "siblings.csv", dtype={"left": str})
    first, seeds = siblings.iloc[0], siblings["seed"].nunique()
    about = f"{first['dataset']}, {first['frames']} frame(s) per clip, mean over {seeds} seeds"
    if "ucf101_midframes" in found:
        picture = figures.full_size_leak(found["ucf101_midframes"], siblings)
        reading = "One real frame per clip, all of UCF101: both heads without time pass the paper's number on its split."
        shown(page.figure(picture, "full-size-leak", reading))
    by_left = (
        siblings.groupby("left", sort=False)[["clips", "top1", "by_sibling", "same_clips_top1"]]
        .mean()
        .reset_index()
    )
    title = f"nearest_neighbour on the random split by siblings left in training ({about})"
    display(page.table(Table.of(by_left, SIBLINGS), "siblings", title))
    same = pd.read_csv(results_folder / "identical_clips.csv", dtype=str, keep_default_na=False)
    display(page.table(same, "identical-clips", "Clips that are byte for byte another one"))

# %%
for name, records in found.items():
    with page.partial(name):
        title = f"{name}: every head under every split"
        display(page.table(study_tables.leak(records), f"{name}-leak", title))

# %%
for name, records in found.items():
    with page.partial(name):
        reading = ("Every head under every split, mean over seeds with 95 % intervals: the grey bar is the distance between "
                   "the splits. A head far to the right on the random split alone recognises videos, not actions.")  # fmt: skip
        shown(page.figure(figures.leak(records), f"{name}-leak", f"{name}. {reading}"))

# %% [markdown]
# A study of one frame per clip tells about the split and not about time: what follows leaves it out.

# %%
found = {name: records for name, records in found.items() if (records["frames"] > 1).all()}

# %% [markdown]
# ## A peer's published scores
#
# The scores of each test clip of official split 1 from a two-stream network, through the same functions as our own runs.

# %%
page.heading("A peer's published scores")
if (results_folder / "peer_scores.csv").is_file():
    peer = pd.read_csv(results_folder / "peer_scores.csv").drop(columns="commit")
    display(page.table(Table.of(peer, PEER), "peer-scores", "Two-stream ResNet-101, official split 1"))
else:
    page.text("There is no table of them: run papermill_runs/peer_scores.ipynb.")

# %% [markdown]
# ## Table 1: accuracy over the epochs
#
# The paper's columns are epochs 30 to 300. Where our training is shorter, a column stands for the same share of the
# training; the row "our epoch" says which. `best` is the best epoch *on the test set*, as in the paper; `chosen` is
# the epoch that a validation set picks. Reconstructed cells of the paper are marked with †.

# %%
page.heading("Table 1: accuracy over the epochs")
for name, records in found.items():
    with page.partial(name):
        for protocol in dict.fromkeys([studies.protocols(records)[0], studies.protocols(records)[-1]]):
            title = f"{name}: the protocol {protocol}"
            display(page.table(paper_tables.table1(records, protocol), f"{name}-table1-{protocol}", title))

# %% [markdown]
# What choosing the best epoch on the test set is worth: `best` minus `chosen`.

# %%
for name, records in found.items():
    with page.partial(name):
        bonus = study_tables.selection_bonus(records)
        title = f"{name}: best of the epochs on the test set, minus chosen"
        display(page.table(bonus, f"{name}-selection", title))

# %% [markdown]
# ## Table 2: accuracy, time and memory
#
# Hours and gigabytes of ours come from the cost records: at the paper's sizes, on the device that is named.

# %%
page.heading("Table 2: accuracy, time and memory")
for name, records in found.items():
    with page.partial(name):
        protocol = studies.protocols(records)[0]
        title = f"{name}: the models of Table 2, protocol {protocol}"
        display(page.table(paper_tables.table2(records, costs, protocol), f"{name}-table2", title))

# %%
page.heading("Differences between the heads, paired over seeds")
for name, records in found.items():
    with page.partial(name):
        for protocol in studies.protocols(records):
            title = f"{name}: every head minus cnn_lstm, protocol {protocol}"
            table = paper_tables.differences(records, protocol)
            made = page.table(table, f"{name}-differences-{protocol}", title)
            if protocol == studies.protocols(records)[0]:  # the others are on the page
                display(made)

# %% [markdown]
# ## Cost: predicted and measured

# %%
page.heading("Cost: predicted and measured")
if len(costs):
    display(
        page.table(
            costs.drop(columns="commit"), "cost", "Predicted and measured, by model and way of training"
        )
    )
else:
    page.text("There is no cost record: run papermill_runs/cost.ipynb.")

# %% [markdown]
# ## Fig. 3: right and wrong ones
#
# The clips are picked by a rule and not by hand: the most confident right ones, the most confident wrong ones, and the
# least confident. Frames of UCF101 are shown only where `root` names it, and are never part of this repository.

# %%
from ctxlstm import stickfigures, ucf101, video


def frames_of(records: pd.DataFrame):
    """A function that gives the frames of a clip by its name; None where there are none to show."""
    if records["dataset"].iloc[0] == "stickfigures":
        return lambda name: stickfigures.frames(*ucf101.parse(name))
    if not root or records["dataset"].iloc[0] != "ucf101":
        return None
    paths = ucf101.index(root).set_index("name")["path"]
    return lambda name: video.read_frames(paths[name], 12, "uniform").images


# %%
page.heading("Fig. 3: right and wrong predictions")
for name, records in found.items():
    with page.partial(name):
        main = studies.of(studies.usual(records), studies.OURS, "paper")
        show = frames_of(records)
        if show is None or main.empty:
            print(f"{name}: no frames here (UCF101's need root; those of your own clips are not shown)")
            continue
        figure = figures.examples(main.iloc[0], show)
        reading = "Predicted class and its probability; picked by rule."
        shown(page.figure(figure, f"{name}-fig3", f"{name}. {reading}"))

# %% [markdown]
# ## Fig. 4: the training log
#
# The paper shows a screen capture; its lines beside the last epochs of our first run, in the same form. In both, the
# training loss is far below the test loss.

# %%
page.heading("Fig. 4: the training log")
for name, records in found.items():
    with page.partial(name):
        main = studies.of(studies.usual(records), studies.OURS, "paper")
        if len(main):
            title = f"{name}: the log, the paper's and ours"
            display(page.table(paper_tables.log_lines(main.iloc[0]), f"{name}-fig4", title))

# %% [markdown]
# ## Fig. 5: accuracy over the epochs, Fig. 6: the three models of Table 2

# %%
page.heading("Fig. 5: accuracy over the epochs")
reading = ("Mean over seeds and the range of the seeds. Where the bands overlap the heads are not ranked; the grey marks "
           "are the paper's cells, of the whole UCF101 and not of this study.")  # fmt: skip
for name, records in found.items():
    with page.partial(name):
        for protocol in studies.protocols(records):
            figure = figures.accuracy_over_epochs(records, protocol)
            made = page.figure(figure, f"{name}-fig5-{protocol}", f"{name}, {protocol}. {reading}")
            if protocol == studies.protocols(records)[0]:  # the others are on the page
                shown(made)

# %%
page.heading("Fig. 6: training loss and test accuracy of the models of Table 2")
reading = ("A training loss that goes on falling while the test accuracy stays level is overfitting by its usual "
           "definition; bands are the range of the seeds.")  # fmt: skip
for name, records in found.items():
    with page.partial(name):
        protocol = studies.protocols(records)[0]
        figure = figures.ablation_curves(records, protocol)
        shown(page.figure(figure, f"{name}-fig6", f"{name}, {protocol}. {reading}"))

# %% [markdown]
# ## How sure the heads are

# %%
page.heading("Calibration")
reading = "Bars below the dashed line: the head is surer than it may be."
for name, records in found.items():
    with page.partial(name):
        protocol = studies.protocols(records)[0]
        figure = figures.reliability_by_head(records, protocol)
        shown(page.figure(figure, f"{name}-calibration", f"{name}, {protocol}. {reading}"))

# %%
page.heading("Overfitting and calibration in numbers")
for name, records in found.items():
    with page.partial(name):
        table = study_tables.overfitting(records)
        display(page.table(table, f"{name}-overfitting", f"{name}: the last third of the epochs"))

# %% [markdown]
# ## The readings the paper leaves open
#
# Each option changed alone, paired with the default reading over the same seeds.

# %%
page.heading("Readings of Context-LSTM, and the ablation")
for name, records in found.items():
    with page.partial(name):
        for protocol in studies.PROTOCOLS:
            own = records[records["protocol"] == protocol]
            if (own["variant"] != "").any():
                title = f"{name}: readings, protocol {protocol}"
                display(
                    page.table(study_tables.readings(own, protocol), f"{name}-readings-{protocol}", title)
                )
                figure = figures.readings(own, protocol)
                reading = "Dots left of the line are readings that do worse than the default; bars that cross it tell nothing."
                shown(page.figure(figure, f"{name}-readings-{protocol}", f"{name}, {protocol}. {reading}"))

# %% [markdown]
# ## Batch size

# %%
page.heading("Is a larger batch better?")
for name, records in found.items():
    with page.partial(name):
        curve = study_tables.batch_size_curve(records)
        if len(curve.frame):
            display(page.table(curve, f"{name}-batch-size", f"{name}: top-1 over the batch size"))
            reading = "A line that rises to the right would be the paper's claim; bars are 95 % intervals."
            shown(page.figure(figures.batch_size(records), f"{name}-batch-size", f"{name}. {reading}"))

# %% [markdown]
# ## Per class
#
# A class without a test clip in a run is marked and not counted as zero.

# %%
page.heading("Per class")
for name, records in found.items():
    with page.partial(name):
        protocol = studies.protocols(records)[-1]
        title = f"{name}: context_lstm by class, protocol {protocol}"
        display(page.table(study_tables.per_class(records, protocol=protocol), f"{name}-classes", title))

# %% [markdown]
# ## Related work by protocol
#
# The paper compares its random split with numbers of official splits and of other tests. Here the same table is sorted
# by protocol; only numbers of one protocol may be compared.

# %%
page.heading("Related work by protocol")
page.table(paper_tables.related_work(), "related-work", "Top-1 on UCF101 as published, by protocol")

# %% [markdown]
# ## The ledger
#
# Every claim of the paper, the rule that decides it, and what became of it, computed from
# the records above: holds, fails, or cannot be told yet, and then the command that would tell.

# %%
page.heading("The ledger of claims")
details = ["claim", "status", "printed", "reproduced", "says", "section", "test", "rule", "evidence", "seen_here",
           "records", "would_settle"]  # fmt: skip
page.table(judged[details], "ledger", "Every claim of the paper")
print(judged["status"].value_counts().to_string())

# %%
for _, claim in judged.iterrows():
    print(f"[{claim['status']}] {claim['says']} ({claim['section']})\n    {claim['evidence']}")
    if claim["seen_here"]:
        print(f"    {claim['seen_here']}")

# %% [markdown]
# ## What is missing
#
# Seeds that other runs of the same kind have, and a head has not.

# %%
page.heading("Missing runs")
failed = runs.failures(results_folder)
if len(failed):
    display(page.table(failed, "failed", "Runs that failed: they are not in the means above"))
for name, records in found.items():
    missing = study_tables.seeds_missing(records)
    if len(missing.frame):
        display(page.table(missing, f"{name}-missing", f"{name}: missing seeds"))
    else:
        page.text(f"{name}: every head has all seeds of its kind.")
print(f"The page: {page.page().name}, in {'the folder out' if out else 'papermill_runs/out/report'}")
