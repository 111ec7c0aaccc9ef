"""papermill_runs/siblings.py on a small data set whose answers are known by another way."""

import shutil

import pandas as pd
import pytest
from helpers import papermill

from ctxlstm import stickfigures, ucf101
from ctxlstm.experiments import runs, steps
from ctxlstm.experiments.settings import Run
from ctxlstm.features import align

pytestmark = pytest.mark.slow


def test_siblings_are_hidden_and_counted_and_equal_files_named(tmp_path):
    root = stickfigures.render(
        tmp_path / "clips", classes=stickfigures.CLASSES[:3], groups=4, clips=5, workers=1, progress=False
    )
    one = ucf101.index(root)["path"].iloc[0]
    shutil.copy(one, one.replace("_c01", "_c09"))
    small = {
        "dataset": "ucf101",
        "root": root,
        "size": 32,
        "frames": 2,
        "batch_size": 4,
        "validation": 0,
        "cpu": True,
    }
    small |= {"cache": tmp_path / "cache", "results": tmp_path / "out"}
    done = papermill("siblings", tmp_path, **small, backbone="efficientnet_lite0")
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(tmp_path / "out" / "siblings.csv", dtype={"left": str}).set_index("left")

    run = Run(model="nearest_neighbour", protocol="paper", backbone="efficientnet_lite0", **small)
    clips = steps.clips(run)
    split = steps.split(run, clips)
    features = steps.features(run, clips, split)
    record = runs.read(steps.train(run, features, align(split, clips, features)))
    assert table.loc["all", "top1"] == pytest.approx(record["top1_last"], abs=1e-6)
    has = ucf101.leakage(clips, split).siblings
    assert table["clips"].tolist() == [len(has), *((has >= left).sum() for left in range(4))]
    assert table.loc["0", "by_sibling"] == 0 < table.loc["1", "by_sibling"]
    assert table.loc["3", "same_clips"] == (has >= 3).sum() > 0
    assert table.loc["3", "same_clips_top1"] == table.loc["3", "top1"]

    same = pd.read_csv(tmp_path / "out" / "identical_clips.csv")
    assert same.to_numpy().tolist() == [[f"{clips['name'].iloc[0][:-2]}09", clips["name"].iloc[0]]]
