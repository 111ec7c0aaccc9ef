"""A finished study in a few files, for git: whatever its runs share is stored once, and each run adds lines.

    study.yaml          the format number, and what all runs share: configuration, features, versions
    runs.jsonl          one line per run, sorted by name: its own parameters and metrics
    history.csv.xz      run, epoch, losses and top-1: one line per epoch
    predictions.csv.xz  run, name, label, predicted, probability, nll: one line per run and test clip, with group
                        unless the name contains it
    SHA256SUMS          checksums of all these, as sha256sum writes and checks them

`run` in a table is the digest at the end of a run's name. The tables are compressed, to a quarter and a tenth;
xzcat and pandas.read_csv read them. Above `LARGEST` bytes of predictions there is one file per protocol
(predictions-paper.csv.xz), and if that is still too large, one per protocol and model.
Packing a run later adds lines and changes none: whatever differs from study.yaml is in the run's own line.
"""

import hashlib
import json
import lzma
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import pandas as pd
import yaml

from ctxlstm.support.files import written

FORMAT = 3
LARGEST = 1_000_000  # bytes of a file of predictions, compressed
SUMS = "SHA256SUMS"
TABLES = ("study.yaml", "runs.jsonl", "history.csv.xz")
MARKS = (SUMS, "study.yaml", "runs.jsonl")  # a folder that holds one of these is a packed study
ASIDE = "packing"
_TEXT = {name: str for name in ("run", "name", "label", "group", "predicted")}
_OF_CLIPS = ("name", "label", "group")  # columns of predictions in which all runs agree
_HEAD = """\
# What the runs of this study share; what is a run's own stands in runs.jsonl. Written by `make pack`, and checked by
# SHA256SUMS: not to be edited by hand.
"""


@dataclass(frozen=True)
class Run:
    """A run as packing takes it: its name, parameters and metrics, and its two tables as CSV."""

    name: str
    params: dict
    metrics: dict
    history: bytes
    predictions: bytes


@dataclass(frozen=True)
class Study:
    """A packed study: parameters and metrics by a run's name, tables by its key (`key`)."""

    shared: dict
    runs: dict[str, dict]
    histories: dict[str, pd.DataFrame]
    predictions: dict[str, pd.DataFrame]


def key(name: str) -> str:
    """The run's key in the tables: the digest at the end of its name, or the whole name if it has none."""
    found = re.search(r"-([0-9a-f]{8})$", name)
    return found[1] if found else name


def there(folder: Path) -> bool:
    """Whether this folder holds a packed study, whole or not."""
    return any((folder / name).exists() for name in MARKS)


def read_table(content: bytes, *, text: bool = False) -> pd.DataFrame:
    """Read a record's CSV. Names are text, whatever they look like (None, 001, 1e5); the rest are numbers.

    With `text` all columns are text, exactly as in the file.
    """
    if text:
        return pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False, lineterminator="\n")
    columns = content[: content.index(b"\n")].decode().split(",")
    types = {name: _TEXT.get(name, int if name == "epoch" else float) for name in columns}
    empty = {name: ["", "nan"] for name, kind in types.items() if kind is float}
    how = {"keep_default_na": False, "na_values": empty, "lineterminator": "\n"}  # a name may have a \r in it
    return pd.read_csv(BytesIO(content), dtype=types, **how)


def study(folder: Path) -> Study:
    """`read`, cached until a file changes."""
    try:
        sums = (folder / SUMS).read_bytes()
        state = [os.stat(folder / name) for name in _names(sums)]
    except (OSError, ValueError):
        return read(folder)  # which says what is wrong
    return _remembered(folder, (sums, *((s.st_size, s.st_mtime_ns, s.st_ino) for s in state)))


@lru_cache(maxsize=4)
def _remembered(folder: Path, state: tuple) -> Study:
    return read(folder)


def read(folder: Path) -> Study:
    """Read a packed study and check every byte of it.

    Raises:
        ValueError: a file is missing or was changed, or the study is of another format.
    """
    return parse(folder, _contents(folder))


def _contents(folder: Path) -> dict[str, bytes]:
    """The files of a packed study by name, checked against SHA256SUMS."""
    try:
        sums = (folder / SUMS).read_bytes()
        if not re.fullmatch(rb"([0-9a-f]{64}  [^/\n]+\n)+", sums):
            raise ValueError(f"{SUMS} is not a list of checksums")
        contents = {name: (folder / name).read_bytes() for name in _names(sums)}
        for name, line in zip(contents, sums.decode().splitlines(keepends=True), strict=True):
            if line != _sum(name, contents[name]):
                raise ValueError(f"{name} does not match {SUMS}")
        found = yaml.safe_load(contents["study.yaml"])["format"] if "study.yaml" in contents else FORMAT
    except FileNotFoundError as error:
        raise _broken(folder, f"{Path(error.filename).name} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise _broken(folder, str(error)) from error
    if found != FORMAT:
        raise ValueError(
            f"the packed study {folder} is of format {found} and this code reads format {FORMAT}: "
            "use the version of ctxlstm that packed it"
        )
    if missing := [name for name in TABLES if name not in contents]:
        raise _broken(folder, f"{missing[0]} is not listed in {SUMS}")
    return contents


def parse(folder: Path, contents: Mapping[str, bytes], *, text: bool = False) -> Study:
    """The study that these files hold; with `text` table cells are text, exactly as in the files.

    Raises:
        ValueError: they do not hold a study; the message names `folder`.
    """
    try:
        shared = yaml.safe_load(contents["study.yaml"])
        lines = [json.loads(line) for line in contents["runs.jsonl"].decode().splitlines()]
        wholes = [line if line.get("whole") else _merged(shared, line) for line in lines]
        runs = {whole["run"]: {part: whole[part] for part in ("params", "metrics")} for whole in wholes}
        tables = {
            name: read_table(lzma.decompress(contents[name]), text=text)
            for name in sorted(contents)
            if name.endswith(".csv.xz")
        }
        history = tables.pop("history.csv.xz")
        return Study(shared, runs, _by_run(history), _by_run(pd.concat(tables.values(), ignore_index=True)))
    except (ValueError, KeyError, TypeError, AttributeError, lzma.LZMAError, yaml.YAMLError) as error:
        raise _broken(folder, f"{type(error).__name__}: {error}") from error


def _by_run(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        run: rows.drop(columns="run").reset_index(drop=True) for run, rows in table.groupby("run", sort=False)
    }


def _broken(folder: Path, what: str) -> ValueError:
    again = (folder / ASIDE / SUMS).is_file()
    remedy = "packing was interrupted: pack it again" if again else "restore it from git or from a copy"
    return ValueError(f"the packed study {folder} is not whole ({' '.join(what.split())}): {remedy}")


def unpacked(folder: Path) -> list[Run]:
    """The runs of a packed study, byte for byte as they were before packing."""
    whole = parse(folder, _contents(folder), text=True)
    return [_run(whole, name) for name in whole.runs]


def _run(study: Study, name: str) -> Run:
    tables = study.histories[key(name)], study.predictions[key(name)]
    return Run(name, **study.runs[name], history=_csv(tables[0]), predictions=_csv(tables[1]))


def write(folder: Path, runs: Iterable[Run]) -> None:
    """Add these runs to those packed in `folder`; everything is checked before a file is touched.

    The first packing decides what runs share. Files are written to a temporary folder and then moved,
    SHA256SUMS last; the next packing finishes an interrupted one.

    Raises:
        ValueError: a run is packed there with different content, two runs have the same key, a clip has two
            labels or groups, or the packed study is not whole.
    """
    finish(folder)
    packed = {run.name: run for run in unpacked(folder)} if there(folder) else {}
    shared = yaml.safe_load(_contents(folder)["study.yaml"]) if packed else None
    for run in runs:
        if _said(packed.setdefault(run.name, run)) != _said(run):
            raise ValueError(
                f"{folder / run.name} is packed there with different content: remove it or rename it"
            )
    contents = _packed([packed[name] for name in sorted(packed)], shared)
    back = parse(folder, contents, text=True)
    for name, run in packed.items():
        if _said(_run(back, name)) != _said(run):
            raise ValueError(
                f"{folder / name} cannot be packed without loss: its tables are not as runs.save writes them"
            )
    shutil.rmtree(folder / f"{ASIDE}.part", ignore_errors=True)
    with written(folder / ASIDE) as aside:
        aside.mkdir()
        for name, content in contents.items():
            (aside / name).write_bytes(content)
        sums = "".join(_sum(name, contents[name]) for name in sorted(contents))
        (aside / SUMS).write_bytes(sums.encode())
    finish(folder)


def finish(folder: Path) -> None:
    """Move a complete set of new files into place, SHA256SUMS last; does nothing unless `write` left one."""
    aside = folder / ASIDE
    if not (aside / SUMS).is_file():
        return
    listed = _names((aside / SUMS).read_bytes())
    for name in listed:
        if (aside / name).exists():  # the rest was moved before an interruption
            os.replace(aside / name, folder / name)
    for old in folder.glob("predictions*"):  # from a smaller study, which had other files
        if old.name not in listed:
            old.unlink()
    os.replace(aside / SUMS, folder / SUMS)
    aside.rmdir()


def _packed(runs: list[Run], shared: dict | None) -> dict[str, bytes]:
    """The files that hold these runs, by name; `shared` is that of the existing study, if there is one."""
    keys = [key(run.name) for run in runs]
    if twice := [run.name for run in runs if keys.count(key(run.name)) > 1]:
        raise ValueError(f"the runs {' and '.join(twice[:2])} end in the same digest: rename one")
    shared = shared or {"format": FORMAT} | _common([_own(run) for run in runs])
    lines = []
    for run in runs:
        less = _less(_own(run), shared)
        if not _same(_merged(shared, less), {"format": FORMAT} | _own(run)):
            less = _own(run) | {"whole": True}  # it lacks something that the others share
        lines.append(json.dumps({"run": run.name} | less, sort_keys=True) + "\n")
    history = _joined({key(run.name): run.history for run in runs})
    predictions = _joined({key(run.name): run.predictions for run in runs})
    clips = predictions[[column for column in _OF_CLIPS if column in predictions]].drop_duplicates()
    if (twice := clips["name"].duplicated()).any():
        name = clips.loc[twice, "name"].iloc[0]
        raise ValueError(
            f"the runs give the clip {name} different labels or groups: they come from different data"
        )
    parts = {key(run.name): [str(run.params["protocol"]), str(run.params["model"])] for run in runs}
    return {
        "study.yaml": (_HEAD + yaml.safe_dump(shared, sort_keys=False)).encode(),
        "runs.jsonl": "".join(lines).encode(),
        "history.csv.xz": lzma.compress(_csv(history)),
    } | _files(predictions, parts)


def _own(run: Run) -> dict:
    return {"params": run.params, "metrics": run.metrics}


def _joined(tables: Mapping[str, bytes]) -> pd.DataFrame:
    """The runs' tables as one, sorted by key; within a run the order is the run's own."""
    every = {run: read_table(tables[run], text=True) for run in sorted(tables)}
    return pd.concat(every, names=["run", None]).reset_index("run").reset_index(drop=True)


def _files(table: pd.DataFrame, parts: Mapping[str, list[str]], depth: int = 0) -> dict[str, bytes]:
    """Predictions in few files, split by the runs' `parts` where needed to keep each below `LARGEST`."""
    names = {
        run: re.sub(r"[^\w.-]", "_", "-".join(["predictions", *of[:depth]])) for run, of in parts.items()
    }
    files: dict[str, bytes] = {}
    for name, rows in table.groupby(table["run"].map(names)):
        content = lzma.compress(_csv(rows))
        small = len(content) <= LARGEST or depth == 2
        files |= {f"{name}.csv.xz": content} if small else _files(rows, parts, depth + 1)
    return files


def _said(run: Run) -> str:
    """Everything in a run, as one text."""
    tables = [hashlib.sha256(content).hexdigest() for content in (run.history, run.predictions)]
    return json.dumps([run.name, run.params, run.metrics, *tables], sort_keys=True)


def _common(dicts: list[dict]) -> dict:
    """The entries that all of these share with the same value; nested dictionaries likewise."""
    first, shared = dicts[0], {}
    for name, value in first.items():
        if not all(name in other for other in dicts):
            continue
        values = [other[name] for other in dicts]
        if all(_same(value, other) for other in values):
            shared[name] = value
        elif all(isinstance(other, dict) for other in values) and (nested := _common(values)):
            shared[name] = nested
    return shared


def _less(own: dict, shared: dict) -> dict:
    """What is in `own` and not in `shared`."""
    less = {}
    for name, value in own.items():
        if name not in shared or not _same(value, shared[name]):
            nested = isinstance(value, dict) and isinstance(shared.get(name), dict)
            less[name] = _less(value, shared[name]) if nested else value
    return less


def _merged(shared: dict, own: dict) -> dict:
    """`shared` updated with `own`: undoes `_less`."""
    merged = dict(shared)
    for name, value in own.items():
        nested = isinstance(value, dict) and isinstance(shared.get(name), dict)
        merged[name] = _merged(shared[name], value) if nested else value
    return merged


def _same(a: object, b: object) -> bool:
    """Equal when written as JSON: 1, 1.0 and true are three values."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _names(sums: bytes) -> list[str]:
    """The files that SHA256SUMS lists: a line is 64 digits, two spaces and a name."""
    return [line[66:] for line in sums.decode().splitlines()]


def _sum(name: str, content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()
