"""Your own clips: a folder per class, any video names, groups by a rule (paper, section 3.1, on other data).

A *group* is what clips may share besides their class: a person or a source video. Here it is text and means
the same in every class, so a split by group keeps a person on one side in all classes. UCF101's groups are
numbers that start again in every class. If it is not known which clips go together, the group is "", and
nothing that needs groups is claimed. `split`, `validation` and `leakage` take tables of both kinds and leave
those with numbers to `ucf101`.
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ctxlstm import ucf101
from ctxlstm.ucf101 import Leakage, Split

# HMDB51: source video, class, visible part of the body, camera motion, people, view, quality, number.
PATTERNS = {"hmdb51": r"^(.+)_{label}_[fhlu]_[cn]m_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+$"}
_LISTED = {"0": "", "1": "train", "2": "test"}  # in HMDB51's split files


def folder(
    root: str | os.PathLike, *, group_pattern: str = "", group_table: str | os.PathLike = ""
) -> pd.DataFrame:
    """The table of all videos `root/<class>/<any name>`, sorted by name; hidden files are ignored.

    Args:
        root: folder that holds one folder per class.
        group_pattern: regular expression with one group in round brackets, searched for in a video's name
            without its extension: `^([^_]+)_` takes the person out of daria_bend.avi. `{label}` stands for
            the clip's class. A name in `PATTERNS` stands for its pattern.
        group_table: CSV file with one line per clip: a column name (daria_bend, daria_bend.avi or
            bend/daria_bend.avi) and a column group, a column label or both. A label overrides the folder's
            name; with labels, videos may also lie in `root` itself.

    Returns:
        Columns as in `ucf101.index`: name (the file's, without extension; with its folder, bend/daria, if two
        classes share it), label, group (text; "" throughout if neither argument gives it), clip (numbered 1,
        2, ... within class and group), path, kind ("video").

    Raises:
        FileNotFoundError: no such root or table. PermissionError: a folder cannot be listed. ValueError: no videos, one
            that lies too deep, two with one name, a pattern that is invalid or does not match a name, a table
            that does not match the clips.
    """
    root = Path(root).expanduser()
    if group_pattern and group_table:
        raise ValueError("group_pattern and group_table both say which clips go together: give one of them")
    paths = _videos(root)
    table = pd.DataFrame({"path": [str(path) for path in paths]})
    table["stem"] = [_text(path.stem, path) for path in paths]
    table["label"] = ["" if path.parent == root else _text(path.parent.name, path) for path in paths]
    # The same name may occur in two classes: then the class becomes part of it.
    twice = table["stem"].duplicated(keep=False) & (table["label"] != "")
    table["name"] = table["stem"].where(~twice, table["label"] + "/" + table["stem"])
    if (again := table["name"].duplicated(keep=False)).any():
        a, b = table.loc[again].sort_values("name", kind="stable")["path"].iloc[:2]
        raise ValueError(f"{a} and {b} have the same name: rename or remove one of them")
    table["group"] = ""
    if group_table:
        _read_table(Path(group_table).expanduser(), table)
    if (loose := table["label"] == "").any():
        raise ValueError(
            f"{table.loc[loose, 'path'].iloc[0]} has no class: put it into a folder named after its class, directly below "
            "root, or give group_table a column label"
        )
    if group_pattern:
        table["group"] = _matched(group_pattern, table)
    table = table.sort_values("name", ignore_index=True)
    table["clip"] = table.groupby(["label", "group"]).cumcount() + 1
    return table.assign(kind="video")[ucf101.COLUMNS]


def groups_known(clips: pd.DataFrame) -> bool:
    """Whether it is known which of these clips go together."""
    return bool((clips["group"] != "").all())


def count_groups(clips: pd.DataFrame) -> int:
    """Number of groups among the clips; 0 if groups are not known."""
    if _numbered(clips):
        return len(clips[["label", "group"]].drop_duplicates())
    return clips["group"].nunique() if groups_known(clips) else 0


def split(
    clips: pd.DataFrame,
    protocol: str,
    *,
    fold: int = 1,
    seed: int = 0,
    lists: str | os.PathLike | None = None,
) -> Split:
    """`ucf101.split`, which differs for your own clips (groups as text) in two protocols:

    - "grouped": all groups are put in one random order, and of every class the first ones test, the nearest
      whole number to a quarter of its groups. So a group is on the same side in all classes, and every class
      is tested.
    - "official": HMDB51's split `fold`, from the files `<class>_test_split<fold>.txt` in the folder `lists`:
      each line is a video's name and 1 (train), 2 (test) or 0 (neither).

    Raises:
        ValueError: as `ucf101.split`; "grouped" if groups are not known, or if a class would not be tested; a clip
            that is in no list.
        FileNotFoundError: a list is missing.
    """
    if protocol not in ("grouped", "official") or "group" not in clips or _numbered(clips):
        return ucf101.split(clips, protocol, fold=fold, seed=seed, lists=lists)
    if protocol == "official":
        part = _official(clips, fold, lists)
    elif groups_known(clips):
        part = np.where(_drawn(clips, clips["group"], "test", seed, _quarter), "test", "train")
    else:
        raise ValueError(
            "protocol 'grouped' cannot be used: it is not known which clips go together, so give group_pattern or "
            "group_table, or choose protocol paper"
        )
    for name in ("train", "test"):
        if not (part == name).any():
            raise ValueError(
                f"protocol {protocol!r} (fold {fold}) leaves no clip to {name} on: add clips of more groups"
            )
    untested = set(clips["label"]) - set(clips["label"][part == "test"])
    if protocol == "grouped" and untested:
        raise ValueError(
            f"protocol 'grouped' (seed {seed}) finds no group to test class {min(untested)!r} on that no other class needs to "
            "train on: choose another seed, or add clips of more groups"
        )
    return Split(
        protocol, int(fold), int(seed), np.flatnonzero(part == "train"), np.flatnonzero(part == "test")
    )


def validation(
    clips: pd.DataFrame, split: Split, *, share: float = 0.1, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """`ucf101.validation`; your own clips also validate by whole groups, or singly if groups are not known.

    A group is drawn only if at least half of its clips are in classes that still need one, so a class may
    have none that validates.
    """
    if _numbered(clips) or not 0 < share < 1:
        return ucf101.validation(clips, split, share=share, seed=seed)
    train = clips.iloc[split.train]

    def how_many(label: str, groups: int) -> int:
        return min(max(1, round(share * groups)), groups - 1)

    groups = train["group"] if groups_known(train) else train["name"]
    # Otherwise a person in all classes would be drawn for one class alone: half of the clips could go.
    validates = _drawn(train, groups, "validation", seed, how_many, least=0.5)
    return split.train[~validates], split.train[validates]


def leakage(clips: pd.DataFrame, split: Split) -> Leakage:
    """`ucf101.leakage`; your own clips leak by group, whatever the class; NaN if groups are not known."""
    if _numbered(clips):
        return ucf101.leakage(clips, split)
    if not groups_known(clips):
        return Leakage(np.nan, np.nan, np.full(len(split.test), np.nan))
    trained = clips["group"].iloc[split.train].value_counts()
    siblings = clips["group"].iloc[split.test].map(trained).fillna(0).to_numpy(np.int64)
    return Leakage(float(np.mean(siblings > 0)), float(siblings.mean()), siblings)


def _numbered(clips: pd.DataFrame) -> bool:
    return pd.api.types.is_numeric_dtype(clips["group"])


def _text(name: str, path: Path) -> str:
    """A name in one Unicode form (NFC): file systems spell an é in two ways."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the name of {os.fsencode(path)!r} is not UTF-8: rename it") from None
    return unicodedata.normalize("NFC", name)


def _videos(root: Path) -> list[Path]:
    """All videos in `root` and in the folders below it."""
    from ctxlstm.video import SUFFIXES  # imports torch, which settings and records do not need

    if not root.exists():
        raise FileNotFoundError(f"the data folder {root} does not exist: check the path given as root")
    if not root.is_dir():
        raise ValueError(f"{root} is a file: give the folder that holds the class folders as root")
    found = []
    for entry in _listing(root):
        inside = _listing(entry) if entry.is_dir() else [entry]
        found += [path for path in inside if path.suffix.lower() in SUFFIXES and not path.is_dir()]
        for deeper in (path for path in inside if path.is_dir() and entry.is_dir()):
            if too_deep := [path for path in _listing(deeper) if path.suffix.lower() in SUFFIXES]:
                raise ValueError(
                    f"{too_deep[0]} lies too deep: videos lie in root/<class>/, and root is {root}; move it, or give "
                    "another root"
                )
    if not found:
        raise ValueError(
            f"there is no video in {root}: it must hold a folder for each class, with the class's videos"
        )
    if special := [path for path in found if not path.is_file()]:
        raise ValueError(f"{special[0]} is not a readable file: remove it")
    return found


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise PermissionError(
            f"{folder} cannot be listed ({error.strerror}): check its permissions"
        ) from error


def _matched(pattern: str, table: pd.DataFrame) -> list[str]:
    """The group of each clip by the pattern."""
    pattern = PATTERNS.get(pattern, pattern)
    check_pattern(pattern)
    groups = []
    for stem, label in zip(table["stem"], table["label"], strict=True):
        found = re.search(pattern.replace("{label}", re.escape(label)), stem)
        if not (found and found[1]):
            raise ValueError(
                f"group_pattern {pattern!r} finds no group in the name {stem!r} of class {label!r}: correct it"
            )
        groups.append(found[1])
    return groups


def check_pattern(pattern: str) -> None:
    """Raise ValueError unless this is a regular expression with one group (or a name in `PATTERNS`)."""
    try:
        count = re.compile(PATTERNS.get(pattern, pattern).replace("{label}", "label")).groups
    except re.error as error:
        raise ValueError(
            f"group_pattern {pattern!r} is not a regular expression ({error}): correct it"
        ) from None
    if count != 1:
        raise ValueError(
            f"group_pattern {pattern!r} has {count} groups in round brackets: put one pair around what clips of a group share"
        )


def _read_table(path: Path, table: pd.DataFrame) -> None:
    """Set the columns group and label of `table` to what the CSV at `path` says."""
    try:
        said = pd.read_csv(
            path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True
        )
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no group_table {path}: check the path") from None
    except ValueError as error:  # encoding errors, too, and pandas' own
        raise ValueError(f"group_table {path} cannot be read as CSV in UTF-8 ({error}): correct it") from None
    columns = [name for name in ("group", "label") if name in said]
    if "name" not in said or not columns:
        raise ValueError(
            f"group_table {path} has the columns {', '.join(said)}: it needs name and group (or label, or both), separated "
            "by commas"
        )
    said = said.map(lambda cell: unicodedata.normalize("NFC", cell))
    row_of: dict[str, list[int]] = {}
    for row, (stem, file) in enumerate(zip(table["stem"], table["path"], strict=True)):
        end, above = Path(file).suffix, unicodedata.normalize("NFC", Path(file).parent.name)
        for key in (stem, stem + end, f"{above}/{stem}", f"{above}/{stem}{end}"):
            row_of.setdefault(key, []).append(row)
    rows = [row_of.get(name, []) for name in said["name"]]
    for name, found in zip(said["name"], rows, strict=True):
        if len(found) != 1:
            what = "is not a video below root" if not found else "is in two classes: write class/name"
            raise ValueError(f"{name!r} in group_table {path} {what}")
    lines = pd.Series([found[0] for found in rows])
    if lines.duplicated().any():
        raise ValueError(
            f"group_table {path} has {said['name'][lines.duplicated()].iloc[0]!r} twice: remove a line"
        )
    if lacking := sorted(set(range(len(table))) - set(lines)):
        raise ValueError(f"group_table {path} has no line for {table['name'][lacking[0]]!r}: add one")
    for column in columns:
        cells = said[column].to_numpy()
        if (cells == "").any() and (column == "label" or (cells != "").any()):
            name = said["name"][cells == ""].iloc[0]
            raise ValueError(f"group_table {path} has no {column} for {name!r}: fill it in")
        table.loc[lines, column] = cells


def _quarter(label: str, groups: int) -> int:
    if groups == 1:
        raise ValueError(
            f"class {label!r} has clips of one group only and cannot be split by groups: add clips of another group, leave "
            "the class out, or choose protocol paper"
        )
    return max(1, (groups + 2) // 4)


def _drawn(
    clips: pd.DataFrame,
    groups: pd.Series,
    purpose: str,
    seed: int,
    how_many: Callable[[str, int], int],
    least: float = 0.0,
) -> np.ndarray:
    """True for the clips of the groups drawn; groups are tried one by one in a random order.

    A group is drawn if at least one of its clips, and at least a share `least` of them, belongs to classes
    that have fewer than `how_many(label, number of its groups)` groups so far.
    """
    table = pd.crosstab(groups, clips["label"])
    counts = table.to_numpy()  # (groups, classes): clips
    needed = np.array([how_many(str(name), n) for name, n in zip(table, (counts > 0).sum(0), strict=True)])
    keys = [hashlib.sha256(f"{purpose}/{seed}/{group}".encode()).digest() for group in table.index]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    drawn = np.zeros(len(counts), dtype=bool)
    for row in order:
        wanted = counts[row, needed > 0].sum()
        if wanted and wanted >= least * counts[row].sum():
            drawn[row] = True
            needed -= counts[row] > 0
    for column in counts.T:
        own = [row for row in order if column[row]]
        if drawn[own].all():  # other classes drew its last groups, too: keep one to train on
            left = (counts[drawn] > 0).sum(0)  # (classes,)
            spare = [row for row in own if (left[counts[row] > 0] > 1).all()]  # that no other class needs
            drawn[(spare or own)[-1]] = False
    return groups.isin(table.index[drawn]).to_numpy()


def _official(clips: pd.DataFrame, fold: int, lists: str | os.PathLike | None) -> np.ndarray:
    """ "train", "test" or "" for every clip, from HMDB51's split files."""
    if fold not in (1, 2, 3):
        raise ValueError(f"fold is {fold!r}: the official splits are 1, 2 and 3")
    if not lists:
        raise ValueError(
            "protocol 'official' on your own data needs lists: give a folder with files <class>_test_split1.txt, as for HMDB51"
        )
    listed = {
        label: _read_split(Path(lists).expanduser() / f"{label}_test_split{fold}.txt")
        for label in clips["label"].unique()
    }
    parts = []
    for name, label in zip(clips["name"], clips["label"], strict=True):
        stem = name.rpartition("/")[2]
        if stem not in listed[label]:
            raise ValueError(
                f"{stem} of class {label} is not in {label}_test_split{fold}.txt of {lists}: check both"
            )
        parts.append(listed[label][stem])
    return np.array(parts)


def _read_split(path: Path) -> dict[str, str]:
    """A clip's part by its name, from lines such as `name.avi 1`."""
    from ctxlstm.video import SUFFIXES

    if not path.is_file():
        raise FileNotFoundError(
            f"there is no split file {path}: give HMDB51's folder of split files as lists"
        )
    parts = {}
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if not line.strip():
            continue
        *name, part = unicodedata.normalize("NFC", line).rsplit(None, 1)
        if not name or part not in _LISTED:
            raise ValueError(f"{path} has the line {line!r}: a line is a video's name and 0, 1 or 2")
        stem, end = os.path.splitext(name[0].strip())
        parts[stem if end.lower() in SUFFIXES else name[0].strip()] = _LISTED[part]
    return parts
