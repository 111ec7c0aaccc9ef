"""papermill_runs/miniatures.py: chapter 14's heads on other clips, and what it refuses."""

import pandas as pd
import pytest
from helpers import papermill

from ctxlstm import stickfigures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("miniatures")
    root = stickfigures.render(
        folder / "clips", classes=stickfigures.CLASSES[:3], groups=5, clips=4, workers=1, progress=False
    )
    return {
        "dataset": "ucf101", "root": root, "size": 32, "frames": 6, "batch_size": 12, "cpu": True,
        "backbone": "efficientnet_lite0", "cache": folder / "cache", "results": folder / "out", "epochs_each": 4,
        "heads": "mean_linear, two_stream,distilled,conv_lstm",
    }  # fmt: skip


def test_the_chapters_heads_are_measured_on_other_clips(small, tmp_path):
    done = papermill("miniatures", tmp_path, **small, seeds="0,1")
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(small["results"] / "miniatures.csv")
    assert set(table["head"]) == {"mean_linear", "two_stream", "distilled", "conv_lstm"}
    assert table.groupby(["split", "head", "seed"]).size().eq(1).all()
    assert set(table["split"]) == {"paper", "grouped"}
    assert len(table) == 2 * 4 * 2
    assert table["top1"].between(0, 100).all()
    assert table["top1"].nunique() > 1
    assert (table["classes"] == 3).all()
    assert table["overlap"].between(0.2, 0.5).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"heads": "mean_linear,tsm", "seeds": "0,1"},
            "unknown head tsm: choose some of mean_linear, cnn_lstm",
        ),
        ({"seeds": 3}, "an interval over seeds needs at least two: give -p seeds 0,1,2,3,4"),
    ],
)
def test_what_it_refuses_before_it_starts(small, tmp_path, change, sentence):
    done = papermill("miniatures", tmp_path, **small | {"results": tmp_path / "none"} | change)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert not (tmp_path / "none" / "miniatures.csv").exists()
