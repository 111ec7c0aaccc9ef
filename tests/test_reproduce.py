"""The main job, end to end: the notebook through papermill on tiny settings, as a user runs it."""

from pathlib import Path

import pandas as pd
import pytest
from helpers import papermill, printed

from ctxlstm.experiments import runs

pytestmark = pytest.mark.alone
TINY = {"size": 32, "frames": 4, "hidden_size": 8, "embedding": "16", "batch_size": 8, "cpu": True}


def reproduce(folder: Path, **parameters):
    """The main job with its results in `folder`: two epochs, small heads."""
    return papermill("reproduce", folder, **TINY | {"results": folder / "results", "epochs": 2} | parameters)


def test_generated_videos_from_rendering_to_the_table(tmp_path):
    few = {"root": tmp_path / "clips", "groups": 4, "seeds": "0,1"}
    parameters = few | {"models": "nearest_neighbour,context_lstm"}
    done = reproduce(tmp_path, **parameters)
    assert done.returncode == 0, done.stderr[-3000:]
    records = runs.load(tmp_path / "results")
    runs_made = {(m, p, s) for m, p, s in records[["model", "protocol", "seed"]].itertuples(index=False)}
    assert runs_made == {
        (model, protocol, seed)
        for model in ("nearest_neighbour", "context_lstm")
        for protocol in ("paper", "grouped")
        for seed in (0, 1)
    }
    siblings = records.set_index("protocol")["test_clips_with_sibling"].groupby(level=0).max()
    assert (siblings > 0).to_dict() == {"grouped": False, "paper": True}
    said = printed("reproduce", tmp_path)
    assert "144 clips, 12 classes, 48 groups" in said
    shares = 100 * records.groupby(["model", "protocol"])["top1_late"].agg(["mean", "min", "max"])
    mean, low, high = shares.loc[("nearest_neighbour", "paper")]
    assert f"nearest_neighbour: paper split {mean:.1f} ({low:.0f}-{high:.0f}), grouped split " in said
    assert "of the test clips have a sibling in training" in said
    assert "8 of 8 runs done, 0 failed" in done.stderr, "progress is shown while it runs"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*")}
    again = reproduce(tmp_path, **parameters)  # warm: nothing is rendered, extracted or trained anew
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*")} == before
    assert "0 clips extracted" in printed("reproduce", tmp_path)
    assert "runs done" not in again.stderr


@pytest.mark.slow
def test_ones_own_clips_with_a_damaged_one_among_them(tmp_path, tiny_clips):
    for source in tiny_clips.rglob("*.avi"):
        copy = tmp_path / "UCF101" / source.parent.name / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    victim = sorted((tmp_path / "UCF101").rglob("*.avi"))[3]
    victim.write_text("not a video")
    own = {"dataset": "ucf101", "root": tmp_path / "UCF101", "models": "context_lstm", "batch_size": 4}
    own |= {"seeds": 0}
    done = reproduce(tmp_path, **own, protocols="official", validation=0, fold=1)
    # Groups 1 to 4 are all test groups of fold 1: the official split says so and stops.
    assert done.returncode != 0
    assert "official" in done.stderr
    done = reproduce(tmp_path, **own, protocols="grouped")
    assert done.returncode == 0, done.stderr[-3000:]
    record = runs.load(tmp_path / "results").iloc[0]
    assert [note["name"] for note in record["left_out"]] == [victim.stem]
    assert victim.stem in (tmp_path / "reproduce.ipynb").read_text(encoding="utf-8")
    folder = tmp_path / "results" / record["run"]
    assert victim.stem not in set(pd.read_csv(folder / "predictions.csv")["name"])


@pytest.mark.slow
def test_a_failed_run_ends_the_main_job_with_its_reason(tmp_path):
    few = {"root": tmp_path / "clips", "groups": 4, "seeds": 0, "models": "cnn_lstm", "protocols": "paper"}
    done = reproduce(tmp_path, **few, learning_rate=1e30)
    assert done.returncode != 0
    assert (
        "1 of 1 runs failed, the first with: FloatingPointError: the loss became not-a-number" in done.stderr
    )


@pytest.mark.slow
def test_a_misspelt_parameter_ends_the_run_at_once_and_lists_the_valid_ones(tmp_path):
    done = reproduce(tmp_path, epoch=3)
    assert done.returncode != 0
    assert "unknown parameter 'epoch': the parameters are dataset, root" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_real_clips_with_resnet50(tmp_path, ucf101_subset, resnet50_weights):
    """Twelve real clips of each class, the real weights, one epoch: the whole way of the paper, small."""
    for source in ucf101_subset.glob("videos/*/*_g0[1-4]_c0[1-3].avi"):
        link = tmp_path / "UCF101" / source.parent.name / source.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.write_bytes(source.read_bytes())
    done = reproduce(
        tmp_path,
        dataset="ucf101",
        root=tmp_path / "UCF101",
        backbone="resnet50",
        weights=resnet50_weights,
        size=128,
        protocols="paper",
        models="nearest_neighbour,context_lstm",
        epochs=1,
        seeds=0,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = runs.load(tmp_path / "results").set_index("model")
    assert records.loc["nearest_neighbour", "top1_last"] > 0.6, (
        "real features of real clips tell four classes apart"
    )
    assert records["features_key"].iloc[0]["backbone"] == "resnet50"
    assert records["test_clips"].iloc[0] == 12
