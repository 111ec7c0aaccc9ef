"""Station 1, the clips: which videos there are, and which of them train and which test (paper, section 3.1).

A UCF101 clip is named `v_<Class>_gNN_cNN`. The clips of a group were cut from one longer video, so they share
the scene, the people and often the second; a split that spreads a group over both parts tests on near copies of
what it trained on. Everything here is read from names: no video is opened, unless two clips share a name.
"""

import codecs
import filecmp
import hashlib
import os
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

PROTOCOLS = ("paper", "grouped", "official")
COLUMNS = ["name", "label", "group", "clip", "path", "kind"]

_NAME = re.compile(r"v_(?P<label>.+)_g(?P<group>[0-9]+)_c(?P<clip>[0-9]+)", re.IGNORECASE)
_LOOKS_LIKE = "v_<Class>_gNN_cNN (for example v_PushUps_g01_c01)"
# Folders into which copies on the web divide the set: each holds class folders, together they are one set.
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
_MOST_FOLDERS = 2000  # searched at most below the class folders: root may be a whole disk

# Why something that looks like a video is not used.
_OTHER_DATA = "if this is another data set, use dataset folder"
_OTHER_NAME = f"the name is not {_LOOKS_LIKE}; {_OTHER_DATA}"
_OTHER_SUFFIX = "the name is a clip's, but its extension is not a video's"
_HIDDEN = "the name begins with a dot, like that of a hidden system file"
_NOT_UTF8 = "the name is not UTF-8; rename it"
_NO_FILE = "it is not a file but a pipe, a device or a link to itself"
_COPY = "it is a byte-for-byte copy of a clip of the same name that is used"
_TOO_DEEP = "it lies deeper than in a class folder, where clips belong"
_NOT_LISTED = "the folder cannot be listed; check its permissions"
_NOT_SEARCHED = (
    f"this folder and others were not searched; more than {_MOST_FOLDERS} lie deeper than class folders"
)


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
    """How much of the test set the training set has seen.

    share: part of the test clips (0 to 1) with at least one train clip of the same class and group.
    siblings_mean: mean number of such train clips. siblings: that number for every test clip, in `Split.test`'s
    order, int64.
    """

    share: float
    siblings_mean: float
    siblings: np.ndarray


@dataclass(frozen=True, eq=False)
class Scan:
    """What lies below a data folder.

    clips: the table of clips (`index`). unused: everything else that looks like a video, with the columns path
    (below the data folder, with /) and reason.
    """

    clips: pd.DataFrame
    unused: pd.DataFrame

    def remarks(self) -> list[str]:
        """One sentence for each reason why something was not used, and one if UCF101 has more clips of these classes."""
        told = [
            f"{len(rows)} not used, for example {rows['path'].iloc[0]!r}: {reason}"
            for reason, rows in self.unused.groupby("reason", sort=False)
        ]
        whole = full_index()
        whole = whole[whole["label"].isin(self.clips["label"])]
        missing = whole.loc[~whole["name"].isin(self.clips["name"]), "name"]
        if len(missing):
            told.append(
                f"{len(missing)} of the {len(whole):,} clips that UCF101 has in these classes are missing, for example "
                f"{missing.iloc[0]}"
            )
        return told


def parse(name: str) -> tuple[str, int, int]:
    """`"v_PushUps_g01_c02"` -> `("PushUps", 1, 2)`: class, group, clip.

    The class is spelled as in the clip's name (`HandStandPushups`; UCF101's folder is `HandstandPushups`).
    Numbers need no leading zero, and v, g and c may be capitals.
    Raises ValueError for any other name (an extension counts as part of the name).
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is not a clip name: it must look like {_LOOKS_LIKE}, without extension")
    return match["label"], int(match["group"]), int(match["clip"])


def index(root: str | os.PathLike) -> pd.DataFrame:
    """The table of all clips below `root`, sorted by name in plain code-point order on every file system.

    Layouts: `root/<Class>/v_*.avi` (or any other suffix of `video.SUFFIXES`, or .gif), `root/v_*/*.jpg` (the paper's
    frame folders), `root/<Class>/v_*/*.jpg`, and each of them below `root/train`, `root/val` and `root/test`, which
    are then one data set. Anything else that looks like a video is left out; `scan` says what and why.
    Columns: name (without extension), label, group, clip, path, kind ("video" or "frames"). Spellings of a
    class that differ only in case or Unicode normal form are one class, and its clips' names have the most
    frequent spelling.
    Raises FileNotFoundError (no such root), PermissionError, and ValueError for a root that is not a folder,
    is empty, holds no clip, is a level too high or too low, or holds two clips of one name whose contents
    differ.
    """
    return scan(root).clips


def scan(root: str | os.PathLike) -> Scan:
    """The table of clips below `root` and what is not used there; layouts and errors are those of `index`."""
    root = Path(root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"The data folder {root} does not exist: check the path given as root")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: give the folder that holds the class folders as root")
    entries = _listing(root)
    if not entries:
        raise ValueError(f"The data folder {root} is empty: it must hold <Class>/v_<Class>_gNN_cNN.avi")
    _refuse_too_low(root, entries)

    found: dict[tuple[str, int, int] | str, tuple[str, str, str]] = {}
    unused: list[tuple[str, str]] = []
    for path, kind, reason in _candidates(root):
        stem = os.path.splitext(path)[0] if kind == "video" else path
        name = unicodedata.normalize("NFC", os.path.basename(stem))
        first = None if reason else found.setdefault(_same(name), (name, path, kind))
        if first and first[1] != path:
            if not _same_content(first[1], path):
                raise ValueError(
                    f"Two clips are named {name} and their contents differ: {first[1]} and {path}; remove or rename one"
                )
            reason = _COPY
        if reason:
            unused.append((path, reason))
    below = [(Path(os.path.relpath(path, root)).as_posix(), reason) for path, reason in unused]
    rest = pd.DataFrame(below, columns=["path", "reason"])
    if not found:
        _refuse_without_clips(root, unused, Scan(_table([]), rest))

    labels = pd.Series([parse(name)[0] for name, _, _ in found.values()])
    spelled = labels.groupby(labels.map(_fold)).agg(
        lambda spellings: spellings.mode()[0]
    )  # the most frequent one
    rows = []
    for label, (name, path, kind) in zip(labels, found.values(), strict=True):
        name = f"v_{spelled[_fold(label)]}{name[2 + len(label) :].lower()}"
        rows.append((name, *parse(name), path, kind))
    return Scan(_table(sorted(rows)), rest)


def full_index() -> pd.DataFrame:
    """All 13,320 clips of the complete UCF101 as `index` lists them, without any video: path and kind are "".

    Made from the number of clips in each of the 101 x 25 groups, where they are numbered 1, 2, ... n.
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
      8-14 or 15-21 test, all others train. `lists`, a folder with trainlist0N.txt and testlist0N.txt (UTF-8 or
      UTF-16), is checked against it by the clips' names, ignoring case.

    Raises ValueError (unknown protocol, fold or seed; missing columns; no clips; a name twice; a class of one
    group under "grouped"; an empty part; a list that disagrees or is not text), FileNotFoundError (missing
    list) and PermissionError (a list that may not be read).
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"Unknown protocol {protocol!r}: choose one of {', '.join(PROTOCOLS)}")
    if fold not in (1, 2, 3):
        raise ValueError(f"fold is {fold!r}: UCF101 has the folds 1, 2 and 3")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise ValueError(f"seed is {seed!r}: give a whole number from 0 to 2**32 - 1")
    _check_table(clips)

    if protocol == "paper":
        from sklearn.model_selection import train_test_split  # slow to import, and not needed to read names

        if len(clips) < 2:
            raise ValueError(
                "The table holds a single clip: it cannot be split into a training set and a test set"
            )
        by_name = np.array(sorted(range(len(clips)), key=clips["name"].tolist().__getitem__))
        _, tested = train_test_split(by_name, test_size=0.25, random_state=int(seed))
        is_test = np.isin(np.arange(len(clips)), tested)
    elif protocol == "grouped":
        is_test = _draw_groups(clips, seed, "test", _quarter_of_groups)
    else:
        is_test = clips["group"].between(7 * fold - 6, 7 * fold).to_numpy()
        if lists is not None:
            _check_lists(clips["name"], is_test, Path(lists).expanduser(), fold)

    for part, size in (("test", is_test.sum()), ("training", (~is_test).sum())):
        if size == 0:
            raise ValueError(
                f"Protocol {protocol!r} (fold {fold}) leaves the {part} set empty: the table's {len(clips)} clips "
                f"have only the groups {sorted(set(clips['group']))}; add clips of other groups or choose another "
                "protocol or fold"
            )
    return Split(protocol, int(fold), int(seed), np.flatnonzero(~is_test), np.flatnonzero(is_test))


def validation(
    clips: pd.DataFrame, split: Split, *, share: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a validation set out of `split.train` by group within each class -> (fit, validation) row positions.

    `share` is the part of a class's train groups (rounded, at least one, never all) that validates; a class with
    one train group stays in the fit part, and share 0 leaves the validation set empty. No group is on both sides.
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
    """A folder's entries sorted by name; scandir tells files from folders without asking the disk again."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise PermissionError(
            f"{folder} cannot be listed ({error.strerror}): check its permissions"
        ) from error


def _candidates(root: Path) -> Iterator[tuple[str, str, str]]:
    """(path, kind, reason) of all that looks like a clip below root; reason: why it is not used, or "".

    First the levels where clips lie (root, its train, val and test, class folders), then what lies deeper.
    """
    # Each: a folder, how many levels of folders below it hold clips, and why nothing in it is used.
    queue, deeper = deque([(str(root), 1, "")]), deque()
    listed, searched = set(), 0
    while queue or deeper:
        folder, levels, passed_over = (queue or deeper).popleft()
        if os.path.realpath(folder) in listed:
            continue  # a link to a folder that was listed, perhaps one that leads back to itself
        listed.add(os.path.realpath(folder))
        searched += bool(passed_over)
        if searched > _MOST_FOLDERS:
            yield folder, "frames", _NOT_SEARCHED
            return
        try:
            entries = _listing(Path(folder))
        except PermissionError:
            if not passed_over:
                raise
            yield folder, "frames", _NOT_LISTED
            continue
        clips = jpegs = False
        for entry in entries:
            what = _what(entry)
            if what == "folder" and not _NAME.fullmatch(entry.name):
                below = levels if folder == str(root) and entry.name.casefold() in _PARTS else levels - 1
                why = passed_over or _odd_name(entry.name) or ("" if below >= 0 else _TOO_DEEP)
                (deeper if why else queue).append((entry.path, below, why))
            elif _looks_like_a_clip(entry.name):
                clips = True
                kind = "frames" if what == "folder" else "video"
                yield entry.path, kind, _why_unused(entry.name, what) or passed_over
            elif _is_jpeg(entry.name):
                jpegs = True
        if jpegs and not clips and folder != str(root):  # a frame folder of another name
            yield folder, "frames", passed_over if passed_over in (_HIDDEN, _NOT_UTF8) else _OTHER_NAME


def _what(entry: os.DirEntry) -> str:
    """ "file", "folder" or "other" (a pipe, a device, a socket, a link to itself).

    A broken link counts as a file: the disk with the video may be back when it is read.
    """
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() or not os.path.exists(entry.path) else "other"
    except OSError:
        return "other"


def _is_video(name: str) -> bool:
    from ctxlstm import video  # imports PyTorch, which names do not need

    suffix = os.path.splitext(name)[1].lower()
    return suffix in video.SUFFIXES or suffix == ".gif"  # where clips are expected, a GIF counts as a video


def _is_jpeg(name: str) -> bool:
    return name.lower().endswith((".jpg", ".jpeg")) and not name.startswith(".")


def _looks_like_a_clip(name: str) -> bool:
    return _is_video(name) or bool(_NAME.fullmatch(os.path.splitext(name)[0]))


def _odd_name(name: str) -> str:
    """Why anything with this name is not used, or ""."""
    if name.startswith("."):
        return _HIDDEN
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8 appear in names as lone surrogates
        return _NOT_UTF8
    return ""


def _why_unused(name: str, what: str) -> str:
    """Why something that looks like a clip is not one, or ""; `what` comes from `_what`."""
    if odd := _odd_name(name):
        return odd
    if what == "other":
        return _NO_FILE
    if what == "folder":
        return ""
    if not _is_video(name):
        return _OTHER_SUFFIX
    return "" if _NAME.fullmatch(os.path.splitext(name)[0]) else _OTHER_NAME


def _fold(text: str) -> str:
    """The text without differences in case or Unicode normal form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _same(name: str) -> tuple[str, int, int] | str:
    """A key that is equal for two spellings of one clip's name."""
    match = _NAME.fullmatch(name)
    return (_fold(match["label"]), int(match["group"]), int(match["clip"])) if match else _fold(name)


def _same_content(one: str, other: str) -> bool:
    """Whether two videos, or the files of two frame folders, are equal byte for byte."""
    try:
        if not (os.path.isdir(one) and os.path.isdir(other)):
            return filecmp.cmp(one, other, shallow=False)
        files, others = (
            [
                entry.name
                for entry in _listing(Path(folder))
                if _what(entry) == "file" and not _odd_name(entry.name)
            ]
            for folder in (one, other)
        )
        return files == others == filecmp.cmpfiles(one, other, files, shallow=False)[0]
    except OSError:
        return False


def _refuse_too_low(root: Path, entries: list[os.DirEntry]) -> None:
    here = Path(os.path.abspath(root))
    for entry in entries:
        if (
            _what(entry) != "folder"
            and _looks_like_a_clip(entry.name)
            and not _why_unused(entry.name, "file")
        ):
            raise ValueError(
                f"{root} itself holds clips such as {entry.name}, so it is one level too low: use "
                f"{_whole(here.parent)} as root, the folder that holds the class folders"
            )
        if _NAME.fullmatch(here.name) and _is_jpeg(entry.name):
            raise ValueError(f"{root} is the frame folder of one clip: use {_whole(here.parent)} as root")


def _whole(folder: Path) -> Path:
    """The data set's folder: the one above `folder` if that is its train, val or test set."""
    return folder.parent if folder.name.casefold() in _PARTS else folder


def _refuse_without_clips(root: Path, unused: list[tuple[str, str]], scan: Scan) -> None:
    """Raise ValueError: say where clips lie deeper, or else what was found instead."""
    for path in (Path(path) for path, reason in unused if reason == _TOO_DEEP):
        folder = path.parent
        # Frame folders may lie in the root itself or in class folders; videos lie in class folders.
        in_class = not path.is_dir() or _fold(folder.name) == _fold(parse(path.name)[0])
        raise ValueError(
            f"{root} holds no clips itself, but {folder} does, so root is too high: use "
            f"{_whole(folder.parent if in_class else folder)} as root"
        )
    found = "; ".join(scan.remarks()) or (
        f"it must hold <Class>/v_<Class>_gNN_cNN.avi, but nothing in it looks like a video; {_OTHER_DATA}"
    )
    raise ValueError(f"No clip was found in {root}: {found}")


def _check_table(clips: pd.DataFrame) -> None:
    missing = [column for column in ("name", "label", "group") if column not in clips.columns]
    if missing:
        raise ValueError(f"The clip table has no column {', '.join(missing)}: make it with index(root)")
    if len(clips) == 0:
        raise ValueError("The clip table is empty: there is nothing to split")
    twice = clips["name"][clips["name"].duplicated()]
    if len(twice):
        raise ValueError(f"The clip table holds {twice.iloc[0]} twice: every clip may appear only once")


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
        if _same(name) in listed[other] or _same(name) not in listed[expected]:
            where = f"in {other}list{fold:02d}.txt" if _same(name) in listed[other] else "in neither list"
            raise ValueError(
                f"{name} belongs in {expected}list{fold:02d}.txt by its group number, but is {where} of "
                f"{lists}: check that these are UCF101's lists and that the clip is UCF101's"
            )


def _read_list(path: Path) -> set[tuple[str, int, int] | str]:
    """Clips (`_same`) of a list file with lines `Class/v_Class_gNN_cNN.avi [class number]`, as UTF-8 or UTF-16."""
    if not path.is_file():
        raise FileNotFoundError(f"No official list {path}: lists must be UCF101's folder ucfTrainTestlist")
    try:
        data = path.read_bytes()
        text = data.decode(
            "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        )
    except OSError as error:
        raise PermissionError(
            f"The list {path} cannot be read ({error.strerror}): check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"The list {path} is not UTF-8 or UTF-16 text: save it as UTF-8") from error
    clips = set()
    for number, line in enumerate(text.splitlines(), 1):
        # The folder before the name and the text after it may have spaces; the class number may be missing.
        match = _NAME.match(re.split(r"[/\\]", line)[-1].strip())
        if match:
            clips.add(_same(match[0]))
        elif line.strip():
            raise ValueError(
                f"Line {number} of the list {path} is {line.strip()!r}: it must name a clip, as in "
                "PushUps/v_PushUps_g01_c01.avi 72"
            )
    return clips
