"""Station 1, the clips: which videos there are, and which of them train and which test (paper, section 3.1).

A UCF101 clip is named `v_<Class>_gNN_cNN`. The clips of a group were cut from one longer video, so they share
the scene, the people and often the second; a split that spreads a group over both parts tests on near copies of
what it trained on. Everything here is read from names: no video is opened.
"""

import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

PROTOCOLS = ("paper", "grouped", "official")
VIDEO_SUFFIXES = (".avi", ".mp4", ".mkv", ".webm", ".mov")
COLUMNS = ["name", "label", "group", "clip", "path", "kind"]

_NAME = re.compile(r"v_(?P<label>.+)_g(?P<group>[0-9]{2,})_c(?P<clip>[0-9]{2,})")
_LOOKS_LIKE = "v_<Class>_gNN_cNN (for example v_PushUps_g01_c01)"
_DEEPEST = 5  # folder levels searched below a root without clips, to say which folder was probably meant
_MOST_FOLDERS = 2000  # and at most so many of them: root may be a whole disk


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a clip table that train and rows that test, as sorted int64 positions (for `DataFrame.iloc`)."""

    protocol: str
    fold: int
    seed: int
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Leakage:
    """How much of the test part the train part has seen.

    share: part of the test clips (0 to 1) with at least one train clip of the same class and group.
    siblings_mean: mean number of such train clips. siblings: that number for every test clip, in `Split.test`'s
    order, int64.
    """

    share: float
    siblings_mean: float
    siblings: np.ndarray


def parse(name: str) -> tuple[str, int, int]:
    """`"v_PushUps_g01_c02"` -> `("PushUps", 1, 2)`: class, group, clip.

    The class is spelled as in the clip's name (`HandStandPushups`; UCF101's folder is `HandstandPushups`).
    Raises ValueError for any other name (an extension counts as part of the name).
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a clip name: it must look like {_LOOKS_LIKE}, without extension")
    return match["label"], int(match["group"]), int(match["clip"])


def index(root: str | os.PathLike) -> pd.DataFrame:
    """The table of all clips below `root`, sorted by name in plain code-point order on every file system.

    Layouts: `root/<Class>/v_*.avi` (or .mp4, .mkv, .webm, .mov), `root/v_*/*.jpg` (the paper's frame folders) and
    `root/<Class>/v_*/*.jpg`. Everything else that lies there is passed over.
    Columns: name (without extension), label, group, clip, path, kind ("video" or "frames").
    Raises FileNotFoundError (no such root), PermissionError, and ValueError for a root that is no folder, is empty,
    holds no clip, is a level too high or too low, or holds two clips of one name.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"The data folder {root} does not exist: check the path given as root")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: give the folder that holds the class folders as root")
    entries = _listing(root)
    if not entries:
        raise ValueError(f"The data folder {root} is empty: it must hold <Class>/v_<Class>_gNN_cNN.avi")
    _refuse_too_low(root, entries)

    found: dict[str, tuple[str, str]] = {}
    for entry in entries:
        inside = [entry] if _clip(entry) else _listing(Path(entry.path)) if entry.is_dir() else []
        for name, path, kind in filter(None, map(_clip, inside)):
            if name in found:
                raise ValueError(f"Two clips are named {name}: {found[name][0]} and {path}; remove one")
            found[name] = path, kind
    if not found:
        _refuse_without_clips(root, entries)
    return _table((name, *parse(name), *found[name]) for name in sorted(found))


def full_index() -> pd.DataFrame:
    """All 13,320 clips of the complete UCF101 as `index` lists them, without any video: path and kind are "".

    From the number of clips in each of the 101 x 25 groups; in every group they are numbered 1, 2, ... n.
    """
    counts = pd.read_csv(Path(__file__).with_name("ucf101_clips_per_group.csv"), index_col="label")
    names = sorted(
        f"v_{label}_{group}_c{clip:02d}"
        for label, row in counts.iterrows()
        for group, count in row.items()
        for clip in range(1, count + 1)
    )
    return _table((name, *parse(name), "", "") for name in names)


def split(
    clips: pd.DataFrame,
    protocol: str,
    *,
    fold: int = 1,
    seed: int = 0,
    lists: str | os.PathLike | None = None,
) -> Split:
    """Cut a clip table (columns name, label, group) into train and test.

    - "paper": 3:1 at random by clip, the clips taken in sorted order of their names (so neither the file system
      nor the order of rows matters); 9,990/3,330 on the full set. Uses `seed`.
    - "grouped": about 3:1 at random by group within each class: the nearest whole number to a quarter of a class's
      groups tests (6 of 25). The draw orders a class's groups by a hash of (seed, class, group), so a class is cut
      the same way whatever other classes are there. Uses `seed`.
    - "official": UCF101's own train/test list `fold` (1, 2 or 3), generated from the group numbers: groups 1-7,
      8-14 or 15-21 test, all others train. `lists`, a folder with trainlist0N.txt and testlist0N.txt, is checked
      against it by the clips' names.

    Raises ValueError (unknown protocol, fold or seed; missing columns; no clips; a name twice; a class of one
    group under "grouped"; an empty part; a list that says otherwise) and FileNotFoundError (missing list).
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"Unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    if fold not in (1, 2, 3):
        raise ValueError(f"fold is {fold!r}: UCF101 has the folds 1, 2 and 3")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}: give a whole number from 0 to 2**32 - 1")
    _check_table(clips)

    if protocol == "paper":
        from sklearn.model_selection import train_test_split  # slow to import: reading names goes without

        if len(clips) < 2:
            raise ValueError("The table holds a single clip: it cannot be split into a train and a test part")
        by_name = np.array(sorted(range(len(clips)), key=clips["name"].tolist().__getitem__))
        _, tested = train_test_split(by_name, test_size=0.25, random_state=int(seed))
        is_test = np.isin(np.arange(len(clips)), tested)
    elif protocol == "grouped":
        is_test = _draw_groups(clips, seed, "test", _quarter_of_groups)
    else:
        is_test = clips["group"].between(7 * fold - 6, 7 * fold).to_numpy()
        if lists is not None:
            _check_lists(clips["name"], is_test, Path(lists).expanduser(), fold)

    for part, size in (("test", is_test.sum()), ("train", (~is_test).sum())):
        if size == 0:
            raise ValueError(
                f"Protocol {protocol!r} (fold {fold}) leaves the {part} part empty: the table's {len(clips)} clips "
                f"have only the groups {sorted(set(clips['group']))}; add clips of other groups or choose another "
                "protocol or fold"
            )
    return Split(protocol, int(fold), int(seed), np.flatnonzero(~is_test), np.flatnonzero(is_test))


def validation(
    clips: pd.DataFrame, split: Split, *, share: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a validation part out of `split.train` by group within each class -> (fit, validation) row positions.

    `share` is the part of a class's train groups (rounded, at least one, never all) that validates; a class with
    one train group stays in the fit part, and share 0 leaves the validation part empty. No group is on both sides.
    Raises ValueError for a share outside 0 <= share < 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share is {share!r}: validation must be at least 0 and less than 1 of train")
    if share == 0:
        return split.train, split.train[:0]

    def how_many(label: str, groups: int) -> int:
        return min(max(1, round(share * groups)), groups - 1)

    validates = _draw_groups(clips.iloc[split.train], seed, "validation", how_many)
    return split.train[~validates], split.train[validates]


def leakage(clips: pd.DataFrame, split: Split) -> Leakage:
    """Count, for every test clip, the train clips cut from the same source video (same class and group)."""
    trained = clips.iloc[split.train].groupby(["label", "group"]).size()
    tested = pd.MultiIndex.from_frame(clips.iloc[split.test][["label", "group"]])
    siblings = trained.reindex(tested, fill_value=0).to_numpy(dtype=np.int64)
    return Leakage(float(np.mean(siblings > 0)), float(siblings.mean()), siblings)


def _table(rows: Iterable[tuple]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=COLUMNS).astype({"group": np.int64, "clip": np.int64})


def _listing(folder: Path) -> list[os.DirEntry]:
    """A folder's entries sorted by name; scandir knows files from folders without another look at the disk."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise PermissionError(f"{folder} cannot be listed ({error.strerror}): check its rights") from error


def _clip(entry: os.DirEntry) -> tuple[str, str, str] | None:
    """(name, path, kind) of a video file or a frame folder with a clip's name, else None."""
    stem, suffix = os.path.splitext(entry.name)
    if suffix.lower() in VIDEO_SUFFIXES and _NAME.fullmatch(stem) and not entry.is_dir():
        return stem, entry.path, "video"
    if _NAME.fullmatch(entry.name) and entry.is_dir():
        return entry.name, entry.path, "frames"
    return None


def _refuse_too_low(root: Path, entries: list[os.DirEntry]) -> None:
    here = Path(os.path.abspath(root))
    for entry in entries:
        clip = _clip(entry)
        if clip and clip[2] == "video":
            raise ValueError(
                f"{root} itself holds clips such as {entry.name}, so it is one level too low: use {here.parent} as "
                "root, the folder that holds the class folders"
            )
        if _NAME.fullmatch(here.name) and entry.name.lower().endswith((".jpg", ".jpeg")):
            raise ValueError(f"{root} is the frame folder of one clip: use {here.parent} as root")


def _refuse_without_clips(root: Path, entries: list[os.DirEntry]) -> None:
    """Say where clips are found deeper, or else what a clip's name looks like and what was found instead."""
    seen = list(entries)
    queue = deque((Path(entry.path), 1) for entry in entries if entry.is_dir())
    for _ in range(_MOST_FOLDERS):
        if not queue:
            break
        folder, depth = queue.popleft()
        try:
            inside = _listing(folder)
        except PermissionError:
            continue
        clip = next(filter(None, map(_clip, inside)), None)
        if clip:
            # Frame folders may lie in the root itself or in class folders; videos lie in class folders.
            in_class = clip[2] == "video" or folder.name.lower() == parse(clip[0])[0].lower()
            raise ValueError(
                f"{root} holds no clips itself, but {folder} does, so root is too high: use "
                f"{folder.parent if in_class else folder} as root"
            )
        seen += inside if depth == 1 else []
        queue.extend((Path(entry.path), depth + 1) for entry in inside if entry.is_dir() and depth < _DEEPEST)
    names = [entry.name for entry in seen]
    videos = [name for name in names if name.lower().endswith(VIDEO_SUFFIXES)]
    raise ValueError(
        f"No clip was found in {root}: videos and frame folders must be named {_LOOKS_LIKE}, but it holds, for "
        f"example, {(videos or names)[0]!r}"
    )


def _check_table(clips: pd.DataFrame) -> None:
    missing = [column for column in ("name", "label", "group") if column not in clips.columns]
    if missing:
        raise ValueError(f"The clip table has no column {', '.join(missing)}: make it with index(root)")
    if len(clips) == 0:
        raise ValueError("The clip table is empty: there is nothing to split")
    twice = clips["name"][clips["name"].duplicated()]
    if len(twice):
        raise ValueError(f"The clip table holds {twice.iloc[0]} twice: every clip may appear once")


def _quarter_of_groups(label: str, groups: int) -> int:
    if groups == 1:
        raise ValueError(
            f"Class {label!r} has clips of one group only and cannot be split by groups: add clips of another group, "
            "leave the class out, or use protocol 'paper'"
        )
    return max(1, (groups + 2) // 4)


def _draw_groups(
    clips: pd.DataFrame, seed: int, purpose: str, how_many: Callable[[str, int], int]
) -> np.ndarray:
    """True for the rows of the groups drawn: `how_many(label, number of its groups)` of every class."""
    drawn = set()
    for label, groups in clips.groupby("label")["group"]:
        keys = {group: f"{purpose}/{seed}/{label}/{group}".encode() for group in groups.unique()}
        ranked = sorted(keys, key=lambda group: hashlib.sha256(keys[group]).digest())
        drawn.update((label, group) for group in ranked[: how_many(label, len(ranked))])
    return np.array([pair in drawn for pair in zip(clips["label"], clips["group"], strict=True)], dtype=bool)


def _check_lists(names: pd.Series, is_test: np.ndarray, lists: Path, fold: int) -> None:
    listed = {part: _read_list(lists / f"{part}list{fold:02d}.txt") for part in ("train", "test")}
    for name, tests in zip(names, is_test, strict=True):
        expected, other = ("test", "train") if tests else ("train", "test")
        if name in listed[other] or name not in listed[expected]:
            where = f"in {other}list{fold:02d}.txt" if name in listed[other] else "in neither list"
            raise ValueError(
                f"{name} belongs to the {expected} part of official fold {fold} by its group number, but is {where} of "
                f"{lists}: check that these are UCF101's lists and that the clip is UCF101's"
            )


def _read_list(path: Path) -> set[str]:
    """Clip names of a list file with lines `Class/v_Class_gNN_cNN.avi [class number]`."""
    if not path.is_file():
        raise FileNotFoundError(f"No official list {path}: lists must be UCF101's folder ucfTrainTestlist")
    lines = path.read_text(encoding="utf-8").replace("\\", "/").splitlines()
    return {PurePosixPath(line.split()[0]).stem for line in lines if line.strip()}
