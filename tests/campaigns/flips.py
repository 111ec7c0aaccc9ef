"""One flipped bit in a feature cache, a checkpoint or a packed study: named with its file, or without any effect."""

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from ctxlstm import features
from ctxlstm.experiments import runs

from .common import FIRST, Study, contents


class _Stop(Exception):
    """What a run is broken off by, in the middle."""


def run(folder: Path, count: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """Flip `count` bits, in turn in a cache, a checkpoint and a packed study; how many were found, and how many harmless."""
    study, rng = Study(folder), random.Random(seed)
    packed, broken_off = folder / "packed", folder / "broken off"
    shutil.copytree(study.results, packed)
    runs.pack(packed, remove=True)

    def stop(row: dict) -> None:
        if row["epoch"] == FIRST.epochs // 2:
            raise _Stop

    try:
        study.train(FIRST, broken_off, stop)
    except _Stop:
        pass
    (checkpoint,) = broken_off.glob("*/checkpoint.safetensors")

    def resumed(copy: Path) -> object:
        study.train(FIRST, copy)
        return contents(copy)

    places: dict[str, tuple[Path, list[Path], Callable[[Path], object]]] = {
        "cache": (study.cache, _files(study.cache), _features),
        "checkpoint": (broken_off, [checkpoint], resumed),
        "packed": (packed, _files(packed), _records),
    }
    copy = folder / "copy"
    expected = {}
    for name, (whole, _, read) in places.items():
        shutil.copytree(whole, copy)
        expected[name] = read(copy)
        shutil.rmtree(copy)
    counted, wrong = {"flips": 0, "found": 0, "harmless": 0} | dict.fromkeys(places, 0), []
    while counted["flips"] < count:
        name = list(places)[counted["flips"] % len(places)]
        whole, files, read = places[name]
        victim = rng.choice(files).relative_to(whole)
        shutil.copytree(whole, copy)
        data = bytearray((copy / victim).read_bytes())
        # A checkpoint is tensors, with a short head that says what they are: as many flips in the head.
        head = 8 + int.from_bytes(data[:8], "little")
        place = rng.randrange(head if name == "checkpoint" and rng.random() < 0.5 else len(data))
        bit = rng.randrange(8)
        data[place] ^= 1 << bit
        (copy / victim).write_bytes(data)
        counted["flips"] += 1
        counted[name] += 1
        try:
            found = read(copy)
        except Exception as error:
            counted["found"] += 1
            if copy.name not in str(error) and victim.name not in str(error):
                wrong.append(
                    f"bit {bit} of byte {place} in {victim}: {type(error).__name__} names no file: {error}"
                )
        else:
            counted["harmless"] += found == expected[name]
            if found != expected[name]:
                wrong.append(f"bit {bit} of byte {place} in {victim} was not noticed")
        shutil.rmtree(copy)
    return counted, wrong


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _features(cache: Path) -> object:
    found = features.load(cache)
    notes = (found.left_out.to_csv(), found.damaged.to_csv(), found.digest)
    return found.x.numpy().tobytes(), found.clips.to_csv(), notes


def _records(study: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same sentences stand in attrs
        table = runs.load(study)
    if left_out := table.attrs["left_out"]:
        raise ValueError(left_out[0])
    tables = [
        (runs.history(folder).to_csv(), runs.predictions(folder).to_csv()) for folder in table["folder"]
    ]
    return table.to_csv(), tables
