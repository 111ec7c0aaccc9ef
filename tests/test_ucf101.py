"""The clip table and the splits: layouts, wrong roots, exact sizes, no shared groups, the leak."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import run

from ctxlstm import ucf101
from ctxlstm.experiments import steps


@pytest.fixture(scope="module")
def full() -> pd.DataFrame:
    return ucf101.full_index()


def touch(*paths: Path) -> None:
    """Empty files: the index must come from names alone."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(sizes: dict[tuple[str, int], int]) -> pd.DataFrame:
    """A clip table with `sizes[label, group]` clips."""
    names = [f"v_{label}_g{g:02d}_c{c:02d}" for (label, g), n in sizes.items() for c in range(1, n + 1)]
    return pd.DataFrame(
        [(name, *ucf101.parse(name)) for name in names], columns=["name", "label", "group", "clip"]
    )


def pairs(clips: pd.DataFrame, rows: np.ndarray) -> set[tuple[str, int]]:
    part = clips.iloc[rows]
    return set(zip(part["label"], part["group"], strict=True))


# --- names and layouts ------------------------------------------------------------------------------------------


def test_parse():
    assert ucf101.parse("v_HandStandPushups_g07_c03") == ("HandStandPushups", 7, 3)
    assert ucf101.parse("v_my_own_class_g01_c12") == ("my_own_class", 1, 12)
    assert ucf101.parse("v_Wave_g7_c1") == ("Wave", 7, 1)
    assert ucf101.parse("V_PUSHUPS_G01_C02") == ("PUSHUPS", 1, 2)
    for name in (
        "PushUps_g01_c01",
        "v_PushUps_g_c01",
        "v_PushUps_g01",
        "v_PushUps_g01_c01.avi",
        "v__g01_c01x",
        "",
    ):
        with pytest.raises(ValueError, match=r"v_<Class>_gNN_cNN"):
            ucf101.parse(name)


def test_layout_of_videos_with_strays(tmp_path):
    touch(
        tmp_path / "HandstandPushups" / "v_HandStandPushups_g01_c02.avi",
        tmp_path / "HandstandPushups" / "v_HandStandPushups_g01_c01.MP4",
        tmp_path / "Archery" / "v_Archery_g10_c01.avi",
        tmp_path / "Archery" / "v_Archery_g09_c01.mkv",
        # none of these is a clip
        tmp_path / "Archery" / "Thumbs.db",
        tmp_path / "Archery" / "._v_Archery_g09_c01.avi",
        tmp_path / "Archery" / "v_Archery_g09_c02.avi.part",
        tmp_path / "Archery" / "backup" / "v_Archery_g09_c01.avi",
        tmp_path / "ucfTrainTestlist" / "testlist01.txt",
        tmp_path / ".hidden" / "note.txt",
        tmp_path / "COMPLETE",
    )
    clips = ucf101.index(tmp_path)
    assert list(clips.columns) == ["name", "label", "group", "clip", "path", "kind"]
    assert isinstance(clips.index, pd.RangeIndex)
    assert clips["name"].tolist() == [
        "v_Archery_g09_c01",
        "v_Archery_g10_c01",
        "v_HandStandPushups_g01_c01",
        "v_HandStandPushups_g01_c02",
    ]
    assert clips["label"].tolist() == ["Archery"] * 2 + ["HandStandPushups"] * 2
    assert clips[["group", "clip"]].to_numpy().tolist() == [[9, 1], [10, 1], [1, 1], [1, 2]]
    assert set(clips["kind"]) == {"video"}
    assert clips["path"][2] == str(tmp_path / "HandstandPushups" / "v_HandStandPushups_g01_c01.MP4")


@pytest.mark.parametrize("class_folder", ["", "LongJump"])
def test_layouts_of_frame_folders(tmp_path, class_folder):
    root = tmp_path / class_folder
    touch(
        root / "v_LongJump_g18_c03" / "frame000001.jpg",
        root / "v_LongJump_g18_c03" / "v_LongJump_g18_c03" / "frame000001.jpg",  # a stray subfolder
        root / "v_LongJump_g18_c02" / "frame000001.jpg",
        root / "readme.txt",
    )
    clips = ucf101.index(tmp_path)
    assert clips["name"].tolist() == ["v_LongJump_g18_c02", "v_LongJump_g18_c03"]
    assert clips["path"].tolist() == [str(root / name) for name in clips["name"]]
    assert set(clips["kind"]) == {"frames"}


def test_order_is_plain_code_points(tmp_path):
    names = ["v_b_g01_c01", "v_C_g01_c01", "v_a_g01_c01", "v_Z_g02_c01", "v_ä_g01_c01", "v_a-b_g01_c01"]
    touch(*(tmp_path / name[2:-8] / f"{name}.avi" for name in names))
    assert ucf101.index(tmp_path)["name"].tolist() == sorted(names)


def test_real_subset(ucf101_subset):
    clips = ucf101.index(ucf101_subset / "videos")
    assert len(clips) == 300
    assert clips.groupby("label").size().to_dict() == dict.fromkeys(
        ["BabyCrawling", "PlayingPiano", "PlayingViolin", "PushUps"], 75
    )
    assert clips["name"].isin(ucf101.full_index()["name"]).all()


# --- wrong roots: each one sentence that says what, where and what to do --------------------------------------


def test_missing_file_and_empty_root(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: check the path"):
        ucf101.index(tmp_path / "nowhere")
    touch(tmp_path / "file.avi")
    with pytest.raises(ValueError, match=r"file\.avi is a file: give the folder"):
        ucf101.index(tmp_path / "file.avi")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty is empty: it must hold <Class>/v_"):
        ucf101.index(tmp_path / "empty")


def test_no_clip(tmp_path):
    touch(tmp_path / "a_note.txt", tmp_path / "PushUps" / "note.txt")
    with pytest.raises(ValueError, match=r"nothing in it looks like a video; .* use dataset folder"):
        ucf101.index(tmp_path)
    touch(tmp_path / "PushUps" / "holiday.avi")
    with pytest.raises(
        ValueError,
        match=r"example 'PushUps/holiday\.avi': the name is not v_<Class>_gNN_cNN .* use dataset folder",
    ):
        ucf101.index(tmp_path)


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ("data/UCF-101/PushUps/v_PushUps_g01_c01.avi", "data/UCF-101"),
        ("UCF-101/PushUps/v_PushUps_g01_c01.avi", "UCF-101"),
        ("a/b/frames/v_PushUps_g01_c01/frame000001.jpg", "a/b/frames"),
        ("a/b/PushUps/v_PushUps_g01_c01/frame000001.jpg", "a/b"),
        ("a/UCF-101/train/PushUps/v_PushUps_g01_c01.avi", "a/UCF-101"),
        ("a/UCF-101/val/v_PushUps_g01_c01/frame000001.jpg", "a/UCF-101"),
    ],
)
def test_root_too_high(tmp_path, clip, expected):
    touch(tmp_path / clip, tmp_path / "ucfTrainTestlist" / "testlist01.txt")
    with pytest.raises(
        ValueError, match=rf"root is too high: use {re.escape(str(tmp_path / expected))} as root"
    ):
        ucf101.index(tmp_path)
    assert len(ucf101.index(tmp_path / expected)) == 1  # the advice works


def test_root_too_low(tmp_path, monkeypatch):
    touch(tmp_path / "PushUps" / "v_PushUps_g01_c01.avi", tmp_path / "v_PushUps_g02_c01" / "frame000001.jpg")
    advice = re.escape(str(tmp_path))
    with pytest.raises(ValueError, match=rf"one level too low: use {advice} as root"):
        ucf101.index(tmp_path / "PushUps")
    monkeypatch.chdir(tmp_path / "PushUps")
    with pytest.raises(ValueError, match=rf"one level too low: use {advice} as root"):
        ucf101.index(".")
    with pytest.raises(ValueError, match=rf"frame folder of one clip: use {advice} as root"):
        ucf101.index(tmp_path / "v_PushUps_g02_c01")
    touch(tmp_path / "test" / "Archery" / "v_Archery_g01_c01.mpg")
    with pytest.raises(ValueError, match=rf"one level too low: use {advice} as root"):
        ucf101.index(tmp_path / "test" / "Archery")


def test_folder_without_read_permission(tmp_path, monkeypatch):
    touch(tmp_path / "PushUps" / "v_PushUps_g01_c01.avi")
    scandir = ucf101.os.scandir

    def refuse(folder):  # chmod does not stop root, who runs many test machines
        if Path(folder).name == "PushUps":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(ucf101.os, "scandir", refuse)
    with pytest.raises(
        PermissionError, match=r"PushUps cannot be listed \(Permission denied\): check its permissions"
    ):
        ucf101.index(tmp_path)


# --- what people have, and what is not used -------------------------------------------------------------------


def names(root: Path) -> list[str]:
    return ucf101.index(root)["name"].tolist()


def unused(root: Path) -> dict[str, str]:
    """The reason for each path."""
    return dict(ucf101.scan(root).unused.itertuples(index=False))


def test_any_suffix_of_a_video_and_numbers_without_zeros(tmp_path):
    suffixes = ".avi .MP4 .m4v .mpg .mpeg .wmv .flv .3gp .ts .MOV .mkv .webm .ogv .gif".split()
    touch(*(tmp_path / "Wave" / f"v_Wave_g{n}_c1{suffix}" for n, suffix in enumerate(suffixes, 1)))
    scan = ucf101.scan(tmp_path)
    assert sorted(scan.clips["group"]) == list(range(1, 15))
    assert set(scan.clips["label"]) == {"Wave"}
    assert scan.remarks() == []


def test_ucf50(tmp_path):
    labels = [f"Class{number}" for number in range(48)] + ["Basketball", "Billards"]
    touch(*(tmp_path / label / f"v_{label}_g{g:02d}_c01.avi" for label in labels for g in range(1, 26)))
    (tmp_path / "Billards").rename(
        tmp_path / "Billiards"
    )  # UCF50 spells its folder and its clips differently
    clips = ucf101.index(tmp_path)
    assert clips["label"].nunique() == 50
    assert set(clips.groupby("label")["group"].nunique()) == {25}
    assert {"v_Basketball_g01_c01", "v_Billards_g25_c01"} <= set(clips["name"])
    split = ucf101.split(clips, "grouped")
    assert (len(split.test), ucf101.leakage(clips, split).share) == (300, 0)


def test_train_val_and_test_are_one_data_set(tmp_path):
    parts = {"train": "g08_c01", "val": "g05_c01", "Test": "g01_c01"}
    for part, number in parts.items():
        for label in ("Archery", "Bowling"):
            touch(
                tmp_path / "in classes" / part / label / f"v_{label}_{number}.avi",
                tmp_path / "flat" / part / f"v_{label}_{number}.avi",
                tmp_path / "frames" / part / f"v_{label}_{number}" / "1.jpg",
            )
    whole = [f"v_{label}_{number}" for label in ("Archery", "Bowling") for number in sorted(parts.values())]
    for tree in ("in classes", "flat", "frames"):
        assert names(tmp_path / tree) == whole
        assert unused(tmp_path / tree) == {}


@pytest.mark.parametrize("frames", [False, True])
def test_a_copy_is_told_and_a_clip_of_another_content_refused(tmp_path, frames):
    end, file = ("", "1.jpg") if frames else (".avi", "")
    clip, copy, spelled = (
        tmp_path / f"{name}{end}"
        for name in ("test/A/v_PushUps_g01_c01", "train/A/v_PushUps_g01_c01", "val/A/v_Pushups_g1_c1")
    )
    touch(clip / file, copy / file, spelled / file)
    scan = ucf101.scan(tmp_path)
    assert scan.clips["path"].tolist() == [str(clip)]
    assert scan.unused["path"].tolist() == [path.relative_to(tmp_path).as_posix() for path in (copy, spelled)]
    assert re.fullmatch(
        "2 not used, for example 'train/A/.*': it is a byte-for-byte copy .*", scan.remarks()[0]
    )
    (copy / file).write_bytes(b"other")
    both = f"{re.escape(str(clip))} and {re.escape(str(copy))}"
    with pytest.raises(ValueError, match=rf"v_PushUps_g01_c01 and their contents differ: {both}; remove or"):
        ucf101.index(tmp_path)


def test_a_video_and_a_frame_folder_of_one_name_are_refused(tmp_path):
    touch(tmp_path / "A" / "v_A_g01_c01.avi", tmp_path / "A" / "v_A_g01_c01" / "1.jpg")
    with pytest.raises(ValueError, match="contents differ"):
        ucf101.index(tmp_path)


def test_a_class_in_several_spellings_is_one_class(tmp_path):
    touch(
        tmp_path / "1" / "v_HandstandPushups_g01_c01.avi",
        *(tmp_path / "2" / f"v_HandStandPushups_g0{group}_c01.avi" for group in (2, 3)),
        tmp_path / "3" / "V_HANDSTANDPUSHUPS_G04_C01.AVI",
        tmp_path / "4" / "v_Caf\u00e9_g01_c01.avi",
        tmp_path / "5" / "v_Cafe\u0301_g02_c01.avi",
    )
    clips = ucf101.index(tmp_path)
    groups = [("Caf\u00e9", 1), ("Caf\u00e9", 2), *(("HandStandPushups", group) for group in (1, 2, 3, 4))]
    assert clips["name"].tolist() == [f"v_{label}_g{group:02d}_c01" for label, group in groups]
    assert list(zip(clips["label"], clips["group"], strict=True)) == groups
    assert [Path(path).parent.name for path in clips["path"]] == ["4", "5", "1", "2", "2", "3"]


def test_what_looks_like_a_video_and_is_not_used_is_told(tmp_path):
    reasons = {
        "PushUps/._v_PushUps_g01_c01.avi": "begins with a dot",
        ".Trash/v_PushUps_g02_c01.avi": "begins with a dot",
        "Waving/my1.mp4": "the name is not v_<Class>_gNN_cNN",
        "Waving/my2.mp4": "the name is not v_<Class>_gNN_cNN",
        "Waving/film": "the name is not v_<Class>_gNN_cNN",
        "PushUps/more/v_PushUps_g03_c01.avi": "lies deeper",
        "PushUps/v_PushUps_g04_c01.xyz": "its extension is not a video's",
    }
    touch(
        *(tmp_path / "PushUps" / f"v_PushUps_g0{group}_c01.avi" for group in (1, 8)),
        *(tmp_path / path for path in reasons if path != "Waving/film"),
        tmp_path / "Waving" / "film" / "1.jpg",
        tmp_path / "notes.txt",
    )
    scan = ucf101.scan(tmp_path)
    assert scan.clips["group"].tolist() == [1, 8]
    told = unused(tmp_path)
    assert set(told) == set(reasons)
    for path, reason in reasons.items():
        assert reason in told[path]
    remarks = "\n".join(scan.remarks())
    assert "3 not used, for example 'Waving/my1.mp4': the name is not v_<Class>_gNN_cNN" in remarks
    assert len(scan.remarks()) == 5


@pytest.mark.parametrize("kind", ["frames", "video"])
def test_a_clip_that_ucf101_has_and_the_folder_has_not_is_told(tmp_path, full, kind):
    """A set with a hole is usable, but no longer the whole class: whoever reads its record should know."""
    names = full.loc[full["label"].isin(["PushUps", "YoYo"]), "name"].tolist()
    for name in names:
        touch(tmp_path / name[2:-8] / (f"{name}/1.jpg" if kind == "frames" else f"{name}.avi"))
    assert ucf101.scan(tmp_path).remarks() == []
    gone = tmp_path / names[7][2:-8] / (f"{names[7]}/1.jpg" if kind == "frames" else f"{names[7]}.avi")
    gone.unlink()
    if kind == "frames":
        gone.parent.rmdir()
    scan = ucf101.scan(tmp_path)
    assert len(scan.clips) == len(names) - 1
    assert scan.remarks() == [
        f"1 of the {len(names)} clips that UCF101 has in these classes are missing, for example {names[7]}"
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="needs pipes, and names of any bytes")
def test_what_can_be_no_clip_is_told(tmp_path):
    folder = tmp_path / "A"
    touch(folder / "v_A_g01_c01.avi")
    os.mkfifo(folder / "v_A_g02_c01.avi")
    (folder / "v_A_g03_c01.avi").symlink_to("v_A_g03_c01.avi")
    (tmp_path / os.fsdecode(b"v_\xe9_g01_c01.avi")).touch()
    touch(tmp_path / os.fsdecode(b"\xe9") / "v_B_g01_c01.avi")
    (folder / "loop").symlink_to(tmp_path)
    (folder / "v_A_g04_c01.avi").symlink_to("nowhere")  # stays: extraction tells that it is not there
    scan = ucf101.scan(tmp_path)
    assert scan.clips["name"].tolist() == ["v_A_g01_c01", "v_A_g04_c01"]
    assert scan.remarks() == [
        r"2 not used, for example 'v_\udce9_g01_c01.avi': the name is not UTF-8; rename it",
        "2 not used, for example 'A/v_A_g02_c01.avi': it is not a file but a pipe, a device or a link to itself",
    ]


def test_a_linked_class_folder_counts_once_and_where_clips_lie(tmp_path):
    touch(tmp_path / "all" / "A" / "v_A_g01_c01.avi")
    (tmp_path / "train").mkdir()
    for link in ("A", "B"):
        (tmp_path / "train" / link).symlink_to(tmp_path / "all" / "A", target_is_directory=True)
    assert names(tmp_path) == ["v_A_g01_c01"]


def test_a_search_that_is_too_long_is_told(tmp_path, monkeypatch):
    touch(tmp_path / "A" / "v_A_g01_c01.avi", *(tmp_path / "A" / f"{n}" / "a.txt" for n in range(3)))
    assert unused(tmp_path) == {}
    monkeypatch.setattr(ucf101, "_MOST_FOLDERS", 2)
    assert "not searched" in unused(tmp_path)["A/2"]


def test_what_is_not_used_is_printed(tmp_path, capsys):
    touch(tmp_path / "A" / "v_A_g01_c01.avi", tmp_path / "Waving" / "my1.mp4")
    assert len(steps.clips(run(dataset="ucf101", root=str(tmp_path)))) == 1
    assert capsys.readouterr().out.startswith(
        f"{tmp_path}: 1 not used, for example 'Waving/my1.mp4': the name"
    )


# --- the complete set -----------------------------------------------------------------------------------------


def test_full_index(full):
    assert len(full) == 13320
    assert full["label"].nunique() == 101
    assert full.groupby(["label", "group"]).ngroups == 2525
    assert full["name"].tolist() == sorted(set(full["name"]))
    assert "v_HandStandPushups_g01_c01" in set(full["name"])
    assert set(full["path"]) == set(full["kind"]) == {""}
    sizes = full.groupby(["label", "group"]).size()
    assert (sizes.min(), sizes.max()) == (4, 7)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_official_equals_the_lists(ucf101_subset, full, fold):
    lists = ucf101_subset / "ucfTrainTestlist"
    split = ucf101.split(full, "official", fold=fold, lists=lists)
    for part in ("train", "test"):
        text = (lists / f"{part}list{fold:02d}.txt").read_text(encoding="utf-8")
        listed = re.findall(r"/(\S+)\.avi", text)
        assert sorted(full["name"].iloc[getattr(split, part)]) == sorted(listed)


@pytest.mark.parametrize(("fold", "train", "test"), [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_official_sizes(full, fold, train, test):
    split = ucf101.split(full, "official", fold=fold)
    assert (len(split.train), len(split.test)) == (train, test)
    assert not pairs(full, split.train) & pairs(full, split.test)
    assert ucf101.leakage(full, split).share == 0


def test_paper_sizes_and_leak(full):
    split = ucf101.split(full, "paper", seed=42)
    assert (len(split.train), len(split.test)) == (9990, 3330)
    assert split.train.dtype == split.test.dtype == np.int64
    leak = ucf101.leakage(full, split)
    assert round(100 * leak.share, 1) == 99.5
    assert np.sum(leak.siblings == 0) == 16
    assert round(leak.siblings_mean, 1) == 3.4
    assert len(leak.siblings) == 3330


def test_paper_is_the_same_for_any_order_of_rows(full):
    chosen = set(full["name"].iloc[ucf101.split(full, "paper", seed=7).test])
    shuffled = full.sample(frac=1, random_state=1)  # keeps its old index labels: positions must not use them
    assert set(shuffled["name"].iloc[ucf101.split(shuffled, "paper", seed=7).test]) == chosen
    other = set(full["name"].iloc[ucf101.split(full, "paper", seed=8).test])
    assert 0.15 < len(chosen & other) / 3330 < 0.35


def test_grouped(full):
    split = ucf101.split(full, "grouped", seed=3)
    assert not pairs(full, split.train) & pairs(full, split.test)
    tested = full.iloc[split.test].groupby("label")["group"].nunique()
    assert len(tested) == 101
    assert set(tested) == {6}
    assert ucf101.leakage(full, split).share == 0
    few = full[full["label"].isin(["Archery", "PushUps"])].sample(frac=1, random_state=0)
    alone = pairs(few, ucf101.split(few, "grouped", seed=3).test)
    assert alone == {pair for pair in pairs(full, split.test) if pair[0] in ("Archery", "PushUps")}
    assert pairs(full, ucf101.split(full, "grouped", seed=4).test) != pairs(full, split.test)


def test_draws_are_the_same_everywhere(full):
    """Pinned: another machine, Python or numpy must draw the same groups."""
    archery = full[full["label"] == "Archery"]
    split = ucf101.split(archery, "grouped", seed=0)
    assert sorted(g for _, g in pairs(archery, split.test)) == [2, 5, 12, 18, 19, 22]
    _, validates = ucf101.validation(archery, split, seed=0)
    assert sorted(g for _, g in pairs(archery, validates)) == [14, 16]


@pytest.mark.parametrize("protocol", ucf101.PROTOCOLS)
def test_validation(full, protocol):
    split = ucf101.split(full, protocol)
    fit, validates = ucf101.validation(full, split, share=0.1, seed=5)
    assert sorted([*fit, *validates]) == split.train.tolist()
    assert not pairs(full, fit) & pairs(full, validates)
    assert full.iloc[validates]["label"].nunique() == 101
    assert 0.05 < len(validates) / len(split.train) < 0.15
    everything, nothing = ucf101.validation(full, split, share=0)
    assert (everything.tolist(), len(nothing)) == (split.train.tolist(), 0)


def test_validation_with_few_groups():
    clips = table({("One", 1): 3, ("One", 8): 3, ("Two", 1): 2, ("Two", 8): 2, ("Two", 9): 2})
    fit, validates = ucf101.validation(clips, ucf101.split(clips, "official"), share=0.9)
    assert pairs(clips, fit) > {("One", 8)}  # the only train group of its class stays
    assert len(pairs(clips, validates)) == 1
    for share in (-0.1, 1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="at least 0 and less than 1 of train"):
            ucf101.validation(clips, ucf101.split(clips, "official"), share=share)


sizes = st.dictionaries(
    st.tuples(st.sampled_from(["A", "B_b", "C"]), st.integers(1, 25)),
    st.integers(1, 4),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(sizes=sizes, seed=st.integers(0, 2**32 - 1), share=st.floats(0, 0.99), data=st.data())
def test_splits_of_any_table(sizes, seed, share, data):
    clips = table(sizes)
    clips = clips.iloc[data.draw(st.permutations(range(len(clips))))]
    possible = {
        "paper": len(clips) > 1,
        "grouped": (clips.groupby("label")["group"].nunique() > 1).all(),
        "official": 0 < (clips["group"] <= 7).sum() < len(clips),
    }
    for protocol in ucf101.PROTOCOLS:
        if not possible[protocol]:
            with pytest.raises(ValueError, match=r"set empty|cannot be split"):
                ucf101.split(clips, protocol, seed=seed)
            continue
        split = ucf101.split(clips, protocol, seed=seed)
        assert np.array_equal(np.sort(np.r_[split.train, split.test]), np.arange(len(clips)))
        assert (np.diff(split.train) > 0).all()
        assert (np.diff(split.test) > 0).all()
        leak = ucf101.leakage(clips, split)
        for row, siblings in zip(split.test, leak.siblings, strict=True):
            same = (clips["label"] == clips["label"].iloc[row]) & (clips["group"] == clips["group"].iloc[row])
            assert siblings == same.iloc[split.train].sum()
        if protocol != "paper":
            assert not pairs(clips, split.train) & pairs(clips, split.test)
            assert leak.share == leak.siblings_mean == 0
        if protocol == "grouped":
            assert (
                set(clips["label"].iloc[split.train])
                == set(clips["label"].iloc[split.test])
                == set(clips["label"])
            )
        fit, validates = ucf101.validation(clips, split, share=share, seed=seed)
        assert not pairs(clips, fit) & pairs(clips, validates)
        assert np.array_equal(np.sort(np.r_[fit, validates]), split.train)
        assert set(clips["label"].iloc[fit]) == set(clips["label"].iloc[split.train])


# --- splits that cannot be ------------------------------------------------------------------------------------


def test_wrong_arguments():
    clips = table({("A", 1): 2, ("A", 8): 2})
    with pytest.raises(
        ValueError, match=r"Unknown protocol 'random': choose one of paper, grouped, official"
    ):
        ucf101.split(clips, "random")
    for fold in (0, 4, "1", None):
        with pytest.raises(ValueError, match=r"UCF101 has the folds 1, 2 and 3"):
            ucf101.split(clips, "official", fold=fold)
    for seed in (-1, 2**32, 0.5, None):
        with pytest.raises(ValueError, match=r"give a whole number from 0"):
            ucf101.split(clips, "paper", seed=seed)
    with pytest.raises(ValueError, match=r"no column label, group: make it with index"):
        ucf101.split(clips[["name"]], "paper")
    with pytest.raises(ValueError, match=r"table is empty"):
        ucf101.split(clips.iloc[:0], "paper")
    with pytest.raises(ValueError, match=r"holds v_A_g01_c01 twice"):
        ucf101.split(pd.concat([clips, clips.iloc[:1]]), "paper")
    with pytest.raises(ValueError, match=r"single clip"):
        ucf101.split(clips.iloc[:1], "paper")


def test_class_of_one_group_and_empty_parts():
    clips = table({("A", 1): 2, ("A", 8): 2, ("Lonely", 1): 3})
    with pytest.raises(
        ValueError, match=r"Class 'Lonely' has clips of one group only and cannot be split by groups"
    ):
        ucf101.split(clips, "grouped")
    with pytest.raises(
        ValueError, match=r"\(fold 3\) leaves the test set empty: .* only the groups \[1, 8\]"
    ):
        ucf101.split(clips, "official", fold=3)
    with pytest.raises(ValueError, match=r"\(fold 1\) leaves the training set empty"):
        ucf101.split(clips[clips["group"] == 1], "official")
    assert (
        len(ucf101.split(clips[clips["label"] == "A"], "grouped").test) == 2
    )  # one class alone can be split


def test_lists_that_say_otherwise(tmp_path):
    clips = table({("A", 1): 2, ("A", 8): 2})
    with pytest.raises(FileNotFoundError, match=r"trainlist02\.txt: lists must be UCF101's folder"):
        ucf101.split(clips, "official", fold=2, lists=tmp_path)
    train, test = tmp_path / "trainlist01.txt", tmp_path / "testlist01.txt"
    # The folder of a list line may be spelled otherwise, and lines may end as on Windows.
    train.write_bytes(b"a/v_A_g08_c01.avi 1\r\na/v_A_g08_c02.avi 1\r\n")
    test.write_bytes(b"a/v_A_g01_c01.avi\r\na/v_A_g01_c02.avi\r\n\r\n")
    assert ucf101.split(clips, "official", lists=tmp_path).test.tolist() == [0, 1]
    test.write_text("a/v_A_g01_c01.avi\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"v_A_g01_c02 belongs in testlist01.txt .* is in neither list"):
        ucf101.split(clips, "official", lists=tmp_path)
    shutil.copy(train, test)
    with pytest.raises(ValueError, match=r"v_A_g01_c01 belongs in testlist01.txt .* neither"):
        ucf101.split(clips, "official", lists=tmp_path)
    train.write_text("a/v_A_g01_c01.avi 1\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"v_A_g01_c01 belongs in testlist01.txt .* but is in trainlist01\.txt"
    ):
        ucf101.split(clips, "official", lists=tmp_path)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda text: text.replace("A/", "").encode("utf-8-sig"), id="byte order mark"),
        pytest.param(lambda text: text.encode("utf-16"), id="UTF-16"),
        pytest.param(lambda text: b"\xfe\xff" + text.encode("utf-16-be"), id="UTF-16, big end first"),
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(lambda text: text.replace("/", "\\").encode(), id="backslashes"),
        pytest.param(lambda text: text.replace(" 1\n", "\n").encode(), id="no class number"),
        pytest.param(lambda text: text.replace(" 1\n", "\t1 \n\n").encode(), id="tabs and blank lines"),
        pytest.param(lambda text: text.replace("A/", "/home/me/My Videos/A/").encode(), id="spaces"),
        pytest.param(lambda text: text.replace("A/", "").replace(".avi", "").encode(), id="names alone"),
        pytest.param(lambda text: text.upper().encode(), id="capitals"),
        pytest.param(lambda text: text.replace("_g0", "_g").encode(), id="no zeros"),
    ],
)
def test_lists_as_people_have_them(tmp_path, write):
    clips = table({("A b", 1): 2, ("A b", 8): 2})
    lines = {"train": "A/v_A b_g08_c01.avi 1\nA/v_A b_g08_c02.avi 1\n", "test": "A/v_A b_g01_c01.avi\n"}
    for part, text in lines.items():
        (tmp_path / f"{part}list01.txt").write_bytes(write(text))
    with pytest.raises(ValueError, match=r"v_A b_g01_c02 belongs in testlist01.txt .* is in neither list"):
        ucf101.split(clips, "official", lists=tmp_path)
    (tmp_path / "testlist01.txt").write_bytes(write(lines["test"] + "A/v_A b_g01_c02.avi\n"))
    assert ucf101.split(clips, "official", lists=tmp_path).test.tolist() == [0, 1]


def test_names_and_lists_are_compared_without_case_and_normal_form(tmp_path):
    clips = table({("HandstandPushups", 1): 1, ("HandstandPushups", 8): 1, ("Cafe\u0301", 8): 1})
    lines = {
        "train": ["v_HandStandPushups_g08_c01", "v_Caf\u00e9_g08_c01"],
        "test": ["v_HandStandPushups_g01_c01"],
    }
    for part, clip_names in lines.items():
        (tmp_path / f"{part}list01.txt").write_text("\n".join(clip_names), encoding="utf-8")
    assert ucf101.split(clips, "official", lists=tmp_path).test.tolist() == [0]


def test_a_list_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    clips = table({("A", 1): 1, ("A", 8): 1})
    (tmp_path / "testlist01.txt").write_text("A/v_A_g01_c01.avi\n", encoding="utf-8")
    train = tmp_path / "trainlist01.txt"
    train.write_bytes(b"A/v_A_g08_c01.avi\nA/v_\xe9_g08_c01.avi\n")
    with pytest.raises(ValueError, match=r"trainlist01\.txt is not UTF-8 or UTF-16 text: save it as UTF-8"):
        ucf101.split(clips, "official", lists=tmp_path)
    train.write_text("A/v_A_g08_c01.avi\nA/holiday.avi 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"Line 2 of .*trainlist01\.txt is 'A/holiday\.avi 1': it must name"):
        ucf101.split(clips, "official", lists=tmp_path)

    def refuse(path):  # chmod does not stop root, who runs many test machines
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        PermissionError, match=r"trainlist01\.txt cannot be read \(Permission denied\): check"
    ):
        ucf101.split(clips, "official", lists=tmp_path)
