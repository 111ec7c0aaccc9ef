"""The main job, end to end: the notebook through papermill on tiny settings, as a user runs it."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from ctxlstm.experiments import runs

pytestmark = pytest.mark.alone

NOTEBOOK = Path(__file__).parents[1] / "papermill_runs" / "reproduce.ipynb"


def papermill(folder: Path, **parameters) -> subprocess.CompletedProcess:
    given = {
        "results": folder / "results",
        "cache": folder / "cache",
        "epochs": 2,
        "size": 32,
        "frames": 4,
        "hidden_size": 8,
    }
    given |= {"embedding": "16", "batch_size": 8, "cpu": True} | parameters
    options = [text for name, value in given.items() for text in ("-p", name, str(value))]
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOK),
        str(folder / "out.ipynb"),
        "--kernel",
        "python3",
    ]
    return subprocess.run(
        [*command, "--log-output", "--no-progress-bar", *options],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
    )


def printed(folder: Path) -> str:
    cells = nbformat.read(folder / "out.ipynb", as_version=4).cells
    return "\n".join(
        out.text for cell in cells for out in cell.get("outputs", []) if out.output_type == "stream"
    )


@pytest.mark.slow
def test_generated_videos_from_rendering_to_the_table(tmp_path):
    parameters = {"root": tmp_path / "clips", "groups": 4}
    done = papermill(tmp_path, **parameters)
    assert done.returncode == 0, done.stderr[-3000:]
    records = runs.load(tmp_path / "results")
    assert set(records["model"]) == {"nearest_neighbour", "mean_linear", "cnn_lstm", "context_lstm"}
    assert set(records["protocol"]) == {"paper", "grouped"}
    assert len(records) == 8
    assert (
        records.set_index("protocol")["test_clips_with_sibling"].groupby(level=0).max() > 0
    ).to_dict() == {
        "grouped": False,
        "paper": True,
    }
    assert "144 clips, 12 classes, 48 groups" in printed(tmp_path)
    assert "nearest_neighbour scores" in printed(tmp_path)
    assert "of the test clips have a sibling in training" in printed(tmp_path)
    assert "epoch 2 of 2" in done.stderr, "progress is shown while it runs"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*")}
    again = papermill(tmp_path, **parameters)  # warm: nothing is rendered, extracted or trained anew
    assert again.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*")} == before
    assert "0 clips extracted" in printed(tmp_path)
    assert printed(tmp_path).count("finished before") == 8


def test_ones_own_clips_with_a_damaged_one_among_them(tmp_path, tiny_clips):
    for source in tiny_clips.rglob("*.avi"):
        copy = tmp_path / "UCF101" / source.parent.name / source.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    victim = sorted((tmp_path / "UCF101").rglob("*.avi"))[3]
    victim.write_text("not a video")
    done = papermill(
        tmp_path,
        dataset="ucf101",
        root=tmp_path / "UCF101",
        protocols="official",
        models="context_lstm",
        validation=0,
        batch_size=4,
        fold=1,
    )
    # Groups 1 to 4 are all test groups of fold 1: the official split says so and stops.
    assert done.returncode != 0
    assert "official" in done.stderr
    done = papermill(
        tmp_path,
        dataset="ucf101",
        root=tmp_path / "UCF101",
        protocols="grouped",
        models="context_lstm",
        batch_size=4,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    record = runs.load(tmp_path / "results").iloc[0]
    assert [note["name"] for note in record["left_out"]] == [victim.stem]
    assert victim.stem in (tmp_path / "out.ipynb").read_text(encoding="utf-8")
    folder = tmp_path / "results" / record["run"]
    assert victim.stem not in set(pd.read_csv(folder / "predictions.csv")["name"])


@pytest.mark.slow
def test_a_misspelt_parameter_ends_the_run_at_once_and_lists_the_valid_ones(tmp_path):
    done = papermill(tmp_path, epoch=3)
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
    done = papermill(
        tmp_path,
        dataset="ucf101",
        root=tmp_path / "UCF101",
        backbone="resnet50",
        weights=resnet50_weights,
        size=128,
        protocols="paper",
        models="nearest_neighbour,context_lstm",
        epochs=1,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = runs.load(tmp_path / "results").set_index("model")
    assert records.loc["nearest_neighbour", "top1_last"] > 0.6, (
        "real features of real clips tell four classes apart"
    )
    assert records["features_key"].iloc[0]["backbone"] == "resnet50"
    assert records["test_clips"].iloc[0] == 12
