"""Scores that others have published: read without trust, and put through our evaluation."""

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import RUNS, papermill

from ctxlstm import evaluation, ucf101

WHOLE = ucf101.full_index()
CLASSES = sorted(WHOLE["label"].unique(), key=str.lower)  # as in classInd.txt
PEER = Path(
    os.environ.get("CTXLSTM_PEER", "no folder")
)  # spatial_video_preds.pickle and motion_video_preds.pickle


def scores(names, wrong=()):
    """A peer's scores: each clip's own class, but Yoyo for those that are wrong."""
    found = {}
    for name in names:
        label = "YoYo" if name in wrong else ucf101.parse(f"v_{name}")[0]
        found[name] = np.eye(101, dtype="float32")[CLASSES.index(label)] * 9
    return found


def test_published_scores_become_predictions():
    names = ["HandStandPushups_g01_c01", "HammerThrow_g02_c03", "Haircut_g01_c02", "Hammering_g25_c01"]
    table = evaluation.published(scores(names, wrong=names[:1]))
    assert table["name"].tolist() == [f"v_{name}" for name in names]
    assert table["label"].tolist() == ["HandStandPushups", "HammerThrow", "Haircut", "Hammering"]
    assert table["predicted"].tolist() == ["YoYo", "HammerThrow", "Haircut", "Hammering"]
    assert evaluation.top1(table) == 0.75
    assert table["nll"].iloc[1] == pytest.approx(np.log(1 + 100 * np.exp(-9)), rel=1e-5)


def test_scores_of_other_clips_or_classes_are_refused():
    good = scores(["Haircut_g01_c02", "YoYo_g01_c01"])
    row = next(iter(good.values()))
    with pytest.raises(ValueError, match=r"UCF101 has no clip 'Haircut_g01_c99' \(and 1 more such names\)"):
        evaluation.published(good | {"Haircut_g01_c99": row, "Juggling_g01_c01": row})
    with pytest.raises(ValueError, match=r"'Haircut_g01_c03' has scores of shape \(100,\): give 101"):
        evaluation.published(good | {"Haircut_g01_c03": row[:100]})
    with pytest.raises(ValueError, match="Clip v_Haircut_g01_c02 is in the predictions table more than once"):
        evaluation.published(good | {"v_Haircut_g01_c02": row})
    with pytest.raises(ValueError, match="there are no scores"):
        evaluation.published({})
    with pytest.raises(ValueError, match="NaN or infinite"):
        evaluation.published(good | {"Haircut_g01_c03": row * np.nan})


class Program:
    def __reduce__(self):
        return os.mkdir, ("it_ran",)


@pytest.mark.slow
def test_a_file_of_other_clips_or_with_a_program_is_refused(tmp_path):
    names = [f"{label}_g{group:02}_c01" for label in CLASSES[:3] for group in (1, 2, 3)]
    files = {"spatial": scores(names), "motion": scores(names, wrong=names[:2])}
    for name, content in files.items():
        (tmp_path / f"{name}.pickle").write_bytes(pickle.dumps(content, protocol=3))
    given = {name: tmp_path / f"{name}.pickle" for name in files}
    done = papermill("peer_scores", tmp_path, results=tmp_path / "out", **given)
    assert done.returncode == 0, done.stderr[-3000:]
    table = pd.read_csv(tmp_path / "out" / "peer_scores.csv").set_index("scores")
    assert table["top1"].to_dict() == pytest.approx({"spatial": 1, "motion": 7 / 9, "fused": 1})
    less = {name: files["motion"][name] for name in names[1:]}
    given["motion"].write_bytes(pickle.dumps(less, protocol=3))
    done = papermill("peer_scores", tmp_path, results=tmp_path / "out", **given)
    assert (
        f"1 clips, such as {names[0]}, are in one file only: give two files of the same clips" in done.stderr
    )
    given["motion"].write_bytes(pickle.dumps(files["motion"] | {"x": Program()}, protocol=3))
    done = papermill("peer_scores", tmp_path, results=tmp_path / "out", **given)
    assert "the file asks for posix.mkdir: only arrays of numbers are read" in done.stderr
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.slow
@pytest.mark.skipif(not PEER.is_dir(), reason="needs the peer's score files: CTXLSTM_PEER names their folder")
def test_the_committed_table_follows_from_the_peers_files(tmp_path):
    given = {name: PEER / f"{name}_video_preds.pickle" for name in ("spatial", "motion")}
    assert papermill("peer_scores", tmp_path, results=tmp_path, **given).returncode == 0
    made, committed = (pd.read_csv(folder / "peer_scores.csv") for folder in (tmp_path, RUNS / "results"))
    pd.testing.assert_frame_equal(made.drop(columns="commit"), committed.drop(columns="commit"), rtol=1e-5)
