"""The feature cache on disk: a Zarr array, checksummed chunk by chunk, and a manifest that says what made it.

The folder survives a kill at any moment: Zarr writes a chunk to a temporary file and renames it; the manifest
is written the same way and has its own checksum. A clip whose row still holds the fill value, NaN, has not
been extracted: that is all the bookkeeping a resumed extraction needs.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from ctxlstm.support.files import AWAY, content, locked, seen, written

if TYPE_CHECKING:  # imported only where an array is opened: training on features in memory does not need it
    import zarr

FORMAT = "ctxlstm features"
NAN = np.float16(np.nan)


@dataclass(frozen=True)
class Problem:
    """What is wrong with a clip; `left_out` means unusable, otherwise the clip is used in part."""

    name: str
    reason: str
    left_out: bool


class Cache:
    """Features of clips (N, T, D) float16 in the folder `path`.

    The manifest holds the key (all settings that shaped the numbers), the clips (`described`) and their
    problems: `left_out` (unusable) and `damaged` (used in part), lists of name and reason.
    """

    def __init__(self, path: Path, manifest: dict, array: "zarr.Array") -> None:
        self.path, self.manifest, self.array = path, manifest, array

    @classmethod
    def complete(cls, path: Path, clips: pd.DataFrame, key: dict, shape: tuple[int, int]) -> "Cache | None":
        """The cache at `path` if nothing is left to do except retry the clips that were left out; else None.

        It is only read, so its disk may be read-only and several processes may read it at once. If clips have
        the same content but new times, the times are recorded where the folder is writable. Arguments and
        errors are those of `open`.
        """
        if not (path / "manifest.json").exists():
            return None
        manifest, rows = read_manifest(path), described(clips)
        _refuse_other_settings(path, manifest, key, rows)
        if not manifest["finished"] or not _described(path, len(clips), shape):
            return None
        cache = cls(path, manifest, _open_array(path, "r"))
        if changed(rows, manifest["clips"], clips["path"]) or named(rows) != named(manifest["clips"]):
            return None
        left_out = {note["name"] for note in manifest["left_out"]}
        lost = (row for chunk in cache.chunks() for row in cache.missing(chunk))
        if any(rows[row]["name"] not in left_out for row in lost):
            return None
        if rows != manifest["clips"]:
            cache._learn(rows)
        return cache

    @classmethod
    def open(cls, path: Path, clips: pd.DataFrame, key: dict, shape: tuple[int, int]) -> "Cache":
        """Open the cache at `path` for writing, or create it; `shape` is (T, D).

        Raises:
            ValueError: it was made with other settings or clips, or the folder is not a cache.
        """
        rows = described(clips)
        if (path / "manifest.json").exists():
            manifest = read_manifest(path)
            _refuse_other_settings(path, manifest, key, rows)
            cache = cls(path, manifest, _array(path, len(clips), shape))
            others = changed(rows, manifest["clips"], clips["path"])
            for row in others:
                cache.forget(row)
            manifest["clips"] = rows
            retried = {row["name"] for row in manifest["left_out"]} | {rows[i]["name"] for i in others}
            for kind in ("left_out", "damaged"):
                manifest[kind] = [note for note in manifest[kind] if note["name"] not in retried]
        else:
            if (path / "features.zarr" / "c").exists():
                raise ValueError(
                    f"{path} holds features without the manifest.json that says what made them: remove {path} and "
                    "extract again"
                )
            array = _array(path, len(clips), shape)
            manifest = {
                "format": FORMAT,
                "finished": False,
                "key": key,
                "clips": rows,
                "left_out": [],
                "damaged": [],
            }
            cache = cls(path, manifest, array)
        manifest["finished"] = False
        cache.save()
        return cache

    @classmethod
    def attach(cls, path: Path) -> "Cache":
        """A cache that another process has opened, for writing chunks; that process writes the manifest."""
        return cls(path, {}, _open_array(path, "r+"))

    def chunks(self) -> list[range]:
        """Rows of each chunk."""
        step, count = self.array.chunks[0], self.array.shape[0]
        return [range(start, min(start + step, count)) for start in range(0, count, step)]

    def missing(self, chunk: range) -> list[int]:
        """Rows of a chunk that are not on disk; all of them if its checksum does not match."""
        try:
            return [
                row
                for row, value in zip(
                    chunk, np.asarray(self.array[chunk.start : chunk.stop, 0, 0]), strict=True
                )
                if np.isnan(value)
            ]
        except ValueError:  # a flipped byte, a truncated file; an unreadable file may be good and raises
            return list(chunk)

    def write(self, chunk: range, values: dict[int, np.ndarray | None]) -> None:
        """Write a chunk in one go: the new rows beside those it already has."""
        if len(values) == len(chunk):
            block = np.empty((len(chunk), *self.array.shape[1:]), np.float16)  # (clips of the chunk, T, D)
        else:
            block = np.asarray(self.array[chunk.start : chunk.stop])  # (clips of the chunk, T, D)
        for row, value in values.items():
            block[row - chunk.start] = NAN if value is None else value
        self.array[chunk.start : chunk.stop] = block

    def forget(self, row: int) -> None:
        """Mark a row as not extracted."""
        chunk = next(chunk for chunk in self.chunks() if row in chunk)
        if row not in self.missing(chunk):
            self.write(chunk, {row: None})

    def note(self, problems: list["Problem"]) -> None:
        """Record what is wrong with clips, before their features are written."""
        names = {problem.name for problem in problems}
        for kind in ("left_out", "damaged"):
            self.manifest[kind] = [note for note in self.manifest[kind] if note["name"] not in names]
        for problem in problems:
            note = {"name": problem.name, "reason": problem.reason}
            self.manifest["left_out" if problem.left_out else "damaged"].append(note)
        self.save()

    def know(self, contents: dict[int, str | None]) -> None:
        """Note the contents of the clips in these rows (`files.content`); the next `save` writes them."""
        for row, digest in contents.items():
            self.manifest["clips"][row]["sha256"] = digest

    def unknown(self) -> list[int]:
        """Rows whose clips have no known content: not extracted yet, or by a call that was killed."""
        rows = enumerate(self.manifest["clips"])
        return [i for i, row in rows if row["sha256"] is None and row["seen"] != AWAY]

    def finish(self) -> None:
        """Mark the cache as complete. Raises ValueError if no clip could be used."""
        if len(self.manifest["left_out"]) == len(self.manifest["clips"]):
            reason = self.manifest["left_out"][0]["reason"]
            raise ValueError(
                f"none of the {len(self.manifest['clips'])} clips could be used; the first: {reason}"
            )
        for kind in ("left_out", "damaged"):
            self.manifest[kind].sort(key=lambda note: note["name"])
        self.manifest["finished"] = True
        self.save()

    def _learn(self, rows: list[dict]) -> None:
        """Record, if possible, when the clips were last seen, so that the next call need not read them."""
        before = self.manifest.get("sha256")
        self.manifest["clips"] = rows
        with suppress(OSError, RuntimeError), locked(self.path / ".lock", f"extracting into {self.path}"):
            if read_manifest(self.path).get("sha256") == before:
                self.save()

    def save(self) -> None:
        """Write the manifest, with its checksum."""
        self.manifest["sha256"] = _checksum(self.manifest)
        with written(self.path / "manifest.json") as part:
            part.write_text(json.dumps(self.manifest, indent=1), encoding="utf-8")


def _array(path: Path, count: int, shape: tuple[int, int]) -> "zarr.Array":
    """The array (N, T, D) on disk, for writing.

    Its description is rewritten if it is missing, damaged or different; the chunks stay, as they have their
    own checksums.
    """
    if not _described(path, count, shape):
        with written(path / "features.zarr" / "zarr.json") as part:
            part.write_bytes(_description(count, shape))
    return _open_array(path, "r+")


def _open_array(path: Path, mode: Literal["r", "r+"]) -> "zarr.Array":
    import zarr

    return zarr.open_array(path / "features.zarr", mode=mode)


def _described(path: Path, count: int, shape: tuple[int, int]) -> bool:
    """Whether the description at `path` is of an array of `count` clips with features of `shape` (T, D)."""
    try:
        found = json.loads((path / "features.zarr" / "zarr.json").read_bytes())
    except (FileNotFoundError, ValueError):  # missing, or not JSON
        return False
    return found == json.loads(_description(count, shape))


def _description(count: int, shape: tuple[int, int]) -> bytes:
    """The description that Zarr writes beside the chunks of `count` clips with features of `shape` (T, D)."""
    import zarr.codecs
    import zarr.storage

    # A few clips per chunk: a damaged byte costs a small cache one clip; UCF101 takes under 2,000 files.
    chunks = (max(1, min(8, count // 256)), *shape)
    files, fill, crc = {}, float("nan"), zarr.codecs.Crc32cCodec()
    zarr.create_array(
        zarr.storage.MemoryStore(files),
        shape=(count, *shape),
        chunks=chunks,
        dtype="float16",
        fill_value=fill,
        compressors=crc,
    )
    return files["zarr.json"].to_bytes()


def read_manifest(path: Path) -> dict:
    """The manifest of the cache at `path`. Raises ValueError if it is unreadable, damaged or not ours."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path / 'manifest.json'} cannot be read ({error}): remove {path} and extract again"
        ) from error
    parts = {"format", "finished", "key", "clips", "left_out", "damaged"}
    if not isinstance(manifest, dict) or not parts <= set(manifest) or manifest["format"] != FORMAT:
        raise ValueError(
            f"{path / 'manifest.json'} is not a feature cache's manifest: give a new or empty folder as out"
        )
    # Older manifests without a checksum stay valid: the chunks have theirs, and extracting again takes hours.
    if manifest.get("sha256", (found := _checksum(manifest))) != found:
        raise ValueError(
            f"{path / 'manifest.json'} was changed or damaged after it was written (its checksum does not match): "
            f"remove {path} and extract again"
        )
    return manifest


def _checksum(manifest: dict) -> str:
    """SHA-256 of the manifest without its checksum."""
    said = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def described(clips: pd.DataFrame) -> list[dict]:
    """The clips as a manifest lists them: name, label, group, clip, how each was `seen` and the `sha256` of its content.

    Contents are not known yet (None). Raises ValueError if none of the clips exists.
    """
    table = clips[["name", "label", "group", "clip"]].assign(seen=[seen(path) for path in clips["path"]])
    rows = [row | {"sha256": None} for row in json.loads(table.to_json(orient="records"))]
    if all(row["seen"] == AWAY for row in rows):
        raise ValueError(
            f"none of the {len(rows)} clips exists (the first: {clips['path'].iloc[0]}): check the paths in clips"
        )
    return rows


def changed(rows: list[dict], known: list[dict], paths: Iterable[str]) -> list[int]:
    """Which of `rows` are different clips from those in `known`; fills in the contents of `rows`.

    A clip with the same size and time is the same; otherwise its content decides. A clip that is missing for
    now counts as unchanged. An old manifest records no contents, so its clips count as changed.
    """
    touched = {}
    for row, (new, old, path) in enumerate(zip(rows, known, paths, strict=True)):
        if new["seen"] in (AWAY, old.get("seen")):
            new["seen"], new["sha256"] = old.get("seen", AWAY), old.get("sha256")
        else:
            touched[row] = path
    comparable = {row: path for row, path in touched.items() if known[row].get("sha256")}
    for row, digest in contents(comparable).items():
        rows[row]["sha256"] = digest
    return [
        row for row in touched if rows[row]["sha256"] is None or rows[row]["sha256"] != known[row]["sha256"]
    ]


def contents(paths: dict[int, str]) -> dict[int, str | None]:
    """`files.content` of the clips in these rows."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(paths, pool.map(content, paths.values()), strict=True))


def clips_digest(rows: list[dict], left_out: list[dict]) -> str:
    """SHA-256 of clip names, labels, groups, numbers and contents, and of `left_out`; no times or paths."""
    said = [{name: value for name, value in row.items() if name != "seen"} for row in rows]
    return hashlib.sha256(json.dumps([said, left_out]).encode()).hexdigest()


def named(rows: list[dict]) -> list[tuple]:
    """Name, label, group and number of each clip."""
    return [(row["name"], row["label"], row["group"], row["clip"]) for row in rows]


def _refuse_other_settings(path: Path, manifest: dict, key: dict, rows: list[dict]) -> None:
    usual = {"precision": "float32"}  # which is not in the key
    for name in key | manifest["key"]:
        found, wanted = (each.get(name, usual.get(name)) for each in (manifest["key"], key))
        if found != wanted:
            raise ValueError(
                f"the feature cache at {path} was made with another {name}: {found!r} there, {wanted!r} "
                "requested; use the old settings or give another folder as out"
            )
    if [row["name"] for row in manifest["clips"]] != [row["name"] for row in rows]:
        raise ValueError(
            f"the feature cache at {path} was made from other clips "
            f"({len(manifest['clips'])} there, {len(rows)} requested): give another folder as out"
        )


def refuse_foreign(out: Path) -> None:
    """Raise ValueError if `out` holds something other than a feature cache."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: give a folder for the feature cache as out")
    if not out.is_dir() or (out / "manifest.json").exists():
        return
    ours = ("features.zarr", "manifest.json.part", "manifest.part")  # the last one: from older code
    foreign = [path.name for path in out.iterdir() if path.name not in ours and not path.name.startswith(".")]
    if foreign:
        raise ValueError(
            f"{out} holds {foreign[0]} and is not a feature cache: give a new or empty folder as out"
        )
