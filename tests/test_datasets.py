"""Own clips: any video names below class folders, groups by a rule, a name of their own from records to the report."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ctxlstm import datasets, evaluation, inference, report, ucf101
from ctxlstm.experiments import runs, steps
from ctxlstm.experiments.settings import Run
from ctxlstm.report import claims, studies, study_tables

PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena", "lyova", "moshe", "shahar")
PERSON = "^([^_]+)_"


def files(root: Path, *names: str) -> Path:
    """Empty files of these names: whoever reads names does not open them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def people(
    root: Path, actions: tuple[str, ...] = ("bend", "run", "walk"), who: tuple[str, ...] = PEOPLE
) -> Path:
    return files(root, *(f"{action}/{person}_{action}.avi" for action in actions for person in who))


# ---- reading


def test_names_labels_and_groups_are_read_from_folders_and_names(tmp_path):
    root = files(people(tmp_path), "bend/.DS_Store", "bend/._daria_bend.avi", "bend/notes.txt", "readme.md")
    clips = datasets.folder(root, group_pattern=PERSON)
    assert list(clips.columns) == ucf101.COLUMNS
    assert len(clips) == 27
    assert list(clips.iloc[0]) == [
        "daria_bend",
        "bend",
        "daria",
        1,
        str(root / "bend" / "daria_bend.avi"),
        "video",
    ]
    assert sorted(clips["name"]) == list(clips["name"])
    assert datasets.count_groups(clips) == 9


def test_a_name_that_stands_in_two_classes_has_its_class_before_it(tmp_path):
    clips = datasets.folder(files(tmp_path, "a/001.MP4", "b/001.mkv", "b/None.webm"))
    assert list(clips["name"]) == ["None", "a/001", "b/001"]
    assert list(clips["label"]) == ["b", "a", "b"]
    assert datasets.count_groups(clips) == 0


def test_one_class_in_two_spellings_of_unicode_is_one(tmp_path):
    clips = datasets.folder(files(tmp_path, "caf\u00e9/x.avi", "cafe\u0301/y.avi"))
    assert set(clips["label"]) == {"caf\u00e9"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "there is no video in .*: it must hold a folder for each class"),
        (("a/notes.txt",), "there is no video in"),
        (("set/a/x.avi",), r"set/a/x\.avi lies too deep: videos lie in root/<class>/"),
        (("a/x.avi", "y.avi"), r"y\.avi has no class: put it into a folder"),
        (("a/x.avi", "a/x.mp4"), r"a/x\.avi and .*a/x\.mp4 have the same name"),
    ],
)
def test_a_folder_that_is_laid_out_otherwise_is_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        datasets.folder(files(tmp_path, *names))


def test_roots_that_are_none_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist: check the path given as root"):
        datasets.folder(tmp_path / "none")
    with pytest.raises(ValueError, match=r"x\.avi is a file: give the folder"):
        datasets.folder(files(tmp_path, "a/x.avi") / "a" / "x.avi")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such files or names")
def test_files_that_are_none_and_names_that_are_no_text_are_told(tmp_path):
    files(tmp_path, "a/x.avi")
    os.mkfifo(tmp_path / "a" / "pipe.avi")
    with pytest.raises(ValueError, match=r"pipe\.avi is not a readable file: remove it"):
        datasets.folder(tmp_path)
    (tmp_path / "a" / "pipe.avi").unlink()
    os.close(os.open(os.fsencode(tmp_path / "a") + b"/\xff.avi", os.O_CREAT | os.O_WRONLY))
    with pytest.raises(ValueError, match="is not UTF-8: rename it"):
        datasets.folder(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        ("_", "has 0 groups in round brackets"),
        ("(.)(.)", "has 2 groups in round brackets"),
        (r"^(\d+)_", "finds no group in the name 'daria_bend' of class 'bend'"),
        ("^(.*?)daria", "finds no group in the name"),
        ("hmdb51", "finds no group in the name"),
    ],
)
def test_a_pattern_that_does_not_fit_is_told(tmp_path, pattern, message):
    with pytest.raises(ValueError, match=message):
        datasets.folder(people(tmp_path), group_pattern=pattern)


def test_a_table_says_groups_and_labels(tmp_path):
    root = files(tmp_path, "x.avi", "y.avi", "a/z.avi", "b/z.avi")
    table = tmp_path / "table.csv"
    lines = "name, label, group\nx, 1e5, 001\ny.avi, None, NA\na/z, True, 001\nb/z.avi, b, True\n"
    table.write_text("\ufeff" + lines, encoding="utf-8")
    clips = datasets.folder(root, group_table=table).set_index("name")
    assert clips["label"].to_dict() == {"x": "1e5", "y": "None", "a/z": "True", "b/z": "b"}
    assert clips["group"].to_dict() == {"x": "001", "y": "NA", "a/z": "001", "b/z": "True"}
    with pytest.raises(ValueError, match="both say which clips go together"):
        datasets.folder(root, group_table=table, group_pattern=PERSON)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name;group\nx;1\n", "has the columns name;group: it needs name and group"),
        ("name,group\nx,1\n", "has no line for 'y': add one"),
        ("name,group\nx,1\ny,1\nw,2\n", "'w' in group_table .* is not a video below root"),
        ("name,group\nx,1\ny,1\nx.avi,2\n", r"has 'x\.avi' twice"),
        ("name,group\nx,1\ny,\n", "has no group for 'y': fill it in"),
        ("name,group\nx,1\ny,1,2,3\n", "cannot be read as CSV"),
        ("name,group\nx,\xe9\ny,1\n", "cannot be read as CSV in UTF-8"),
    ],
)
def test_a_table_that_does_not_fit_is_told(tmp_path, text, message):
    root = files(tmp_path / "clips", "a/x.avi", "a/y.avi")
    table = tmp_path / "table.csv"
    table.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        datasets.folder(root, group_table=table)
    with pytest.raises(FileNotFoundError, match="there is no group_table"):
        datasets.folder(root, group_table=tmp_path / "none.csv")


# ---- splits


def test_a_person_is_on_one_side_in_all_classes(tmp_path):
    clips = datasets.folder(people(tmp_path), group_pattern=PERSON)
    tested = set()
    for seed in range(12):
        split = datasets.split(clips, "grouped", seed=seed)
        test, train = (set(clips["group"].iloc[part]) for part in (split.test, split.train))
        assert (len(test), len(train), test & train) == (2, 7, set())
        assert set(clips["label"].iloc[split.test]) == {"bend", "run", "walk"}
        fit, validation = datasets.validation(clips, split, share=0.1, seed=seed)
        assert sorted([*fit, *validation]) == sorted(split.train)
        assert set(clips["group"].iloc[fit]).isdisjoint(clips["group"].iloc[validation])
        assert clips["group"].iloc[validation].nunique() == 1
        tested.add(frozenset(test))
        assert datasets.leakage(clips, split).share == 0
        again = datasets.split(clips.sample(frac=1, random_state=seed), "grouped", seed=seed)
        assert len(again.test) == len(split.test)
    assert len(tested) > 6, "seeds draw different people"


def test_a_class_keeps_a_group_to_train_on(tmp_path):
    """Whatever is drawn for the other classes: b and c have two people each, and share one with a."""
    names = [f"a/{person}_a.avi" for person in PEOPLE]
    names += ["b/daria_b.avi", "b/denis_b.avi", "c/eli_c.avi", "c/denis_c.avi"]
    clips = datasets.folder(files(tmp_path, *names), group_pattern=PERSON)
    for seed in range(40):
        split = datasets.split(clips, "grouped", seed=seed)
        fit, _ = datasets.validation(clips, split, share=0.5, seed=seed)
        assert set(clips["label"].iloc[fit]) == {"a", "b", "c"}
        assert set(clips["label"].iloc[split.test]) == {"a", "b", "c"}
    one = datasets.folder(files(tmp_path, "d/ido_d.avi"), group_pattern=PERSON)
    with pytest.raises(ValueError, match="class 'd' has clips of one group only"):
        datasets.split(one, "grouped")


def test_a_class_that_no_draw_can_test_is_named(tmp_path):
    """Two people each, in a ring of three classes: whoever is left for one class to train on tests the next."""
    ring = {"a": "rp", "b": "pq", "c": "qr"}
    clips = datasets.folder(
        files(tmp_path, *(f"{label}/{who}_{label}.avi" for label, two in ring.items() for who in two)),
        group_pattern=PERSON,
    )
    with pytest.raises(
        ValueError, match=r"\(seed 0\) finds no group to test class '[abc]' .* choose another seed"
    ):
        datasets.split(clips, "grouped")


def test_people_who_are_in_most_classes_do_not_all_validate(tmp_path):
    """On a random split every class lacks other people, and each would draw its own first one."""
    clips = datasets.folder(people(tmp_path, actions=tuple("abcdefghij")), group_pattern=PERSON)
    for seed in range(10):
        split = datasets.split(clips, "paper", seed=seed)
        fit, validation = datasets.validation(clips, split, share=0.1, seed=seed)
        assert 0.03 < len(validation) / len(split.train) < 0.25
        assert set(clips["group"].iloc[fit]).isdisjoint(clips["group"].iloc[validation])


def test_siblings_of_own_clips_are_those_of_the_group_in_any_class(tmp_path):
    clips = datasets.folder(people(tmp_path, who=PEOPLE[:3]), group_pattern=PERSON)
    rows = {name: row for row, name in enumerate(clips["name"])}
    train = np.array([rows["daria_run"], rows["daria_walk"], rows["eli_run"]])
    test = np.array([rows["daria_bend"], rows["denis_bend"], rows["eli_walk"]])
    leak = datasets.leakage(clips, ucf101.Split("paper", 1, 0, train, test))
    assert leak.siblings.tolist() == [2, 0, 1]
    assert (leak.share, leak.siblings_mean) == (pytest.approx(2 / 3), 1)


def test_without_groups_nothing_is_said_that_needs_them(tmp_path):
    clips = datasets.folder(people(tmp_path))
    with pytest.raises(ValueError, match=r"protocol 'grouped' cannot be used: .* or choose protocol paper"):
        datasets.split(clips, "grouped")
    split = datasets.split(clips, "paper", seed=1)
    assert np.isnan(datasets.leakage(clips, split).share)
    fit, validation = datasets.validation(clips, split, share=0.2)
    assert set(clips["label"].iloc[validation]) == {"bend", "run", "walk"}, "a part of each class"
    assert sorted([*fit, *validation]) == sorted(split.train)


@pytest.mark.parametrize("protocol", ucf101.PROTOCOLS)
def test_tables_with_numbered_groups_are_left_to_ucf101(protocol):
    clips = ucf101.full_index().iloc[:400]
    ours, theirs = (module.split(clips, protocol, seed=3) for module in (datasets, ucf101))
    assert np.array_equal(ours.test, theirs.test)
    fits = [module.validation(clips, ours, share=0.2, seed=1)[0] for module in (datasets, ucf101)]
    assert np.array_equal(*fits)
    assert datasets.leakage(clips, ours).share == ucf101.leakage(clips, ours).share


# ---- HMDB51

HMDB51 = (
    "wave/Some_Film_wave_u_nm_np1_fr_med_0.avi", "wave/Some_Film_wave_u_cm_np2_ba_goo_13.avi",
    "wave/#2_wave_(again)!_wave_f_nm_np1_ri_bad_1.avi", "kick_ball/Some_Film_kick_ball_l_cm_np1_le_med_2.avi",
    "kick_ball/A_kick_kick_ball_h_nm_np10_fr_goo_0.avi",
)  # fmt: skip


@pytest.fixture
def hmdb51(tmp_path) -> tuple[pd.DataFrame, Path]:
    clips = datasets.folder(files(tmp_path / "videos", *HMDB51), group_pattern="hmdb51")
    lists = tmp_path / "lists"
    lists.mkdir()
    for label, parts in (("wave", "120"), ("kick_ball", "21")):
        own = [name.partition("/")[2] for name in HMDB51 if name.startswith(label)]
        lines = [f"{name} {part} \n" for name, part in zip(own, parts, strict=True)]
        (lists / f"{label}_test_split1.txt").write_text("".join([*lines, "away_0.avi 1\n"]), encoding="utf-8")
    return clips, lists


def test_hmdb51s_names_hold_the_source_video(hmdb51):
    assert set(hmdb51[0]["group"]) == {"Some_Film", "#2_wave_(again)!", "A_kick"}
    assert set(hmdb51[0].loc[hmdb51[0]["group"] == "Some_Film", "label"]) == {"wave", "kick_ball"}


def test_hmdb51s_split_files_say_what_trains_and_tests(hmdb51):
    clips, lists = hmdb51
    split = datasets.split(clips, "official", lists=lists)
    names = [set(clips["name"].iloc[part].str.rpartition("_")[2]) for part in (split.train, split.test)]
    assert names == [{"0"}, {"13", "2"}], "1 trains, 2 tests, 0 is not used"
    with pytest.raises(FileNotFoundError, match=r"there is no split file .*_test_split2\.txt"):
        datasets.split(clips, "official", fold=2, lists=lists)
    with pytest.raises(ValueError, match="needs lists"):
        datasets.split(clips, "official")
    path = lists / "wave_test_split1.txt"
    path.write_text("x.avi 7\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"has the line 'x\.avi 7': a line is a video's name and 0, 1 or 2"):
        datasets.split(clips, "official", lists=lists)
    path.write_text("x.avi 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"of class wave is not in wave_test_split1\.txt"):
        datasets.split(clips, "official", lists=lists)


# ---- from the folder to the report


@pytest.fixture(scope="module")
def filmed(tiny_clips, tmp_path_factory) -> Path:
    """Real videos, person_action.avi in a folder for each action: 3 actions, 4 people, 2 clips each."""
    root = tmp_path_factory.mktemp("own") / "Nine People"
    for clip in ucf101.index(tiny_clips).itertuples():
        action = str(clip.label).lower()
        (root / action).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip.path, root / action / f"{PEOPLE[clip.group - 1]}_{action}{clip.clip}.avi")
    return root


def trained(folder: Path, root: Path, **more: object) -> Path:
    """The record of a short training on these clips; features are kept beside them."""
    asked = {
        "dataset": "folder",
        "root": root,
        "cache": root.parent / "cache",
        "protocol": "grouped",
        "cpu": True,
    }
    asked |= {"size": 32, "frames": 4, "model": "mean_linear", "epochs": 2, "batch_size": 8, "embedding": ()}
    run = Run(**asked | more)
    clips = steps.clips(run)
    split = steps.split(run, clips)
    features = steps.features(run, clips, split)
    return steps.train(run, features, split, results=folder / "results")


def test_an_own_data_set_is_called_by_its_name_from_the_record_to_the_report(filmed, tmp_path):
    folder = trained(tmp_path, filmed, group_pattern=PERSON)
    assert folder.name.startswith("Nine_People-grouped-mean_linear-s0-")
    predictions = runs.predictions(folder)
    assert list(predictions.columns) == ["name", "label", "group", *evaluation.COLUMNS[2:]]
    assert set(predictions["group"]) <= set(PEOPLE[:4])
    assert predictions["group"].nunique() == 1, "a quarter of four people"
    before = runs.load(tmp_path / "results")
    runs.pack(tmp_path / "results", remove=True)
    pd.testing.assert_frame_equal(runs.predictions(folder), predictions)
    records = runs.load(tmp_path / "results")
    assert records["top1_last"].equals(before["top1_last"])
    assert set(records["dataset"]) == {"Nine People"}
    assert set(records["test_clips_with_sibling"]) == {0.0}
    assert str(filmed) not in (tmp_path / "results" / "study.yaml").read_text(encoding="utf-8")

    page = report.page.Report(tmp_path / "report", "one study")
    page.table(study_tables.leak(records), "leak", studies.study(records))
    judged = claims.judge(records, pd.DataFrame())
    page.table(judged[["claim", "status", "seen_here"]], "seen", "the ledger")
    text = page.page().read_text(encoding="utf-8")
    assert "Nine People, efficientnet_lite0" in text
    assert "ucf101" not in text.lower()
    assert judged["status"].equals(claims.judge(pd.DataFrame(), pd.DataFrame())["status"]), (
        "it decides nothing"
    )


def test_the_ledger_names_own_data_by_their_name(filmed, tmp_path):
    for model in ("context_lstm", "cnn_lstm"):
        trained(tmp_path, filmed, group_pattern=PERSON, protocol="paper", model=model, hidden_size=4)
    seen = claims.judge(runs.load(tmp_path / "results"), pd.DataFrame()).set_index("claim")["seen_here"]
    assert "Nine People (another data set, 3 classes, 24 clips" in seen["accuracy_above_baseline"]
    assert "UCF101" not in " ".join(seen)


def test_without_groups_records_and_report_say_that_they_cannot_be_told(filmed, tmp_path):
    folder = trained(tmp_path, filmed, protocol="paper", title="Film")
    assert folder.name.startswith("Film-paper-")
    record = runs.read(folder)
    assert record["test_clips_with_sibling"] is None
    predictions = runs.predictions(folder)
    assert set(predictions["group"]) == {""}
    clips = predictions.assign(group=predictions["name"])
    assert inference.interval(predictions) == inference.interval(clips), "single clips are counted"
    runs.pack(tmp_path / "results", remove=True)
    table = study_tables.leak(runs.load(tmp_path / "results"))
    assert table.frame["siblings"].isna().all()
    assert set(table.frame["interval"]) == {"clips, one seed"}
    assert studies.NO_GROUPS in table.legend


def test_another_rule_for_groups_is_another_cache_and_another_run(filmed, tmp_path):
    """Else two studies that group the same clips differently would take turns in one cache."""
    by_person = trained(tmp_path, filmed, group_pattern=PERSON)
    caches = set((filmed.parent / "cache").iterdir())
    by_clip = trained(tmp_path, filmed, group_pattern=r"(\d)$")
    assert len(set((filmed.parent / "cache").iterdir()) - caches) == 1
    assert by_person.name != by_clip.name
    assert set(runs.predictions(by_clip)["group"]) < {"1", "2"}
    digests = [runs.read(folder)["features_digest"] for folder in (by_person, by_clip)]
    assert digests[0] != digests[1]
