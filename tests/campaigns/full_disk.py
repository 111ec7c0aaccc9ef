"""A disk that is full after ever more bytes: told in a sentence, and the next call ends as if nothing had been."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from .common import Study, contents, ended, finished, forked

SIZE = 16_000_000  # bytes of the disk
TOLD = ("the disk is full while", "make room")


def run(folder: Path, step: int) -> tuple[dict[str, int], list[str]]:
    """Give every step of a study room for 0, `step`, 2 `step`, ... bytes until it is enough; how often each was stopped.

    Raises:
        OSError: no file system can be mounted here, which takes root on Linux.
    """
    disk, study = folder / "disk", Study(folder)
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        raise OSError("a small file system can be mounted on Linux by root only: run this as root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], check=True)
    try:
        return _fill_up(study, disk, step, folder / "error")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _fill_up(study: Study, disk: Path, step: int, error: Path) -> tuple[dict[str, int], list[str]]:
    counted, wrong = {"full": 0} | dict.fromkeys(study.steps(), 0), []
    out, filler = disk / "out", disk / "filler"
    for name, do in study.steps().items():
        finished(forked(lambda do=do: do(out)))
        whole = contents(out)
        shutil.rmtree(out)
        free, enough = 0, False
        while not enough:
            if name == "packing":
                shutil.copytree(study.results, out)
            filler.write_bytes(bytes(shutil.disk_usage(disk).free - free))
            enough = ended(forked(lambda do=do: do(out), error)) == 0
            filler.unlink()
            where = f"{name} with room for {free} bytes"
            if not enough:
                counted["full"] += 1
                counted[name] += 1
                said = error.read_text(encoding="utf-8")
                if not any(words in said for words in TOLD):
                    wrong.append(f"{where}: a full disk is told as {said}")
                if ended(forked(lambda do=do: do(out), error)):
                    wrong.append(f"{where}: the next call ended with {error.read_text(encoding='utf-8')}")
            if contents(out) != whole:
                wrong.append(f"{where}: another end than undisturbed")
            shutil.rmtree(out)
            free += step
    return counted, wrong
