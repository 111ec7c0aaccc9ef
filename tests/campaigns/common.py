"""What is disturbed: four steps of a small study, each done by a forked process, and what each leaves."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

# What the steps import when they need it: a forked process would import it each time, and be killed while it does.
import av  # noqa: F401
import torch
import torchvision  # noqa: F401
import zarr.codecs
import zarr.storage  # noqa: F401
import zarrs  # noqa: F401

from ctxlstm import backbone, datasets, features, stickfigures, ucf101
from ctxlstm.experiments import runs, steps
from ctxlstm.experiments.settings import Run
from ctxlstm.features import Features

CLIPS = {"classes": stickfigures.CLASSES[:2], "groups": 3, "clips": 2, "workers": 1, "progress": False}
SAMPLING = {"frames": 4, "rule": "uniform", "workers": 1, "progress": False}
FIRST = Run(
    model="context_lstm",
    protocol="grouped",
    size=32,
    frames=4,
    rule="uniform",
    hidden_size=4,
    embedding=(8,),
    epochs=8,
    batch_size=4,
    validation=0.0,
    cpu=True,
)
PLANNED = (FIRST, FIRST.replace(seed=1), FIRST.replace(model="mean_linear"))
TIMED = {"metrics.json"}  # seconds and memory


@cache
def net() -> backbone.Backbone:
    """The CNN, read before processes are forked."""
    return backbone.load("efficientnet_lite0", size=32)


class Study:
    """A study in `folder`: clips, features, runs; and its four steps, each of which makes one of them in `out`."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)  # a forked process has none of the threads of the one before
        net()
        runs.commit()
        self.clips, self.cache, self.results = folder / "clips", folder / "features", folder / "runs"
        for step, out in ((self.rendering, self.clips), (self.extraction, self.cache)):
            finished(forked(lambda step=step, out=out: step(out)))
        finished(forked(lambda: [self.train(run, self.results) for run in PLANNED]))

    def rendering(self, out: Path) -> None:
        """Twelve clips."""
        stickfigures.render(out, **CLIPS)

    def extraction(self, out: Path) -> None:
        """Their features."""
        features.extract(ucf101.index(self.clips), out, backbone=net(), **SAMPLING)

    def training(self, out: Path) -> None:
        """A run on them."""
        self.train(FIRST, out)

    def packing(self, out: Path) -> None:
        """Three runs in a few files."""
        if not out.exists():
            shutil.copytree(self.results, out)
        runs.pack(out)

    def steps(self) -> dict[str, Callable[[Path], None]]:
        """The four, by name."""
        return {
            step.__name__: step for step in (self.rendering, self.extraction, self.training, self.packing)
        }

    def train(self, run: Run, out: Path, on_epoch: Callable[[dict], None] | None = None) -> None:
        """One run, into `out`."""
        data = self.features()
        split = datasets.split(data.clips, run.protocol, seed=run.seed)
        steps.train(run, data, split, results=out, on_epoch=on_epoch)

    def features(self) -> Features:
        """What the runs read. Zarr starts threads: never call it in a process that forks afterwards."""
        return features.load(self.cache)


def contents(folder: Path) -> dict[str, bytes]:
    """All files below `folder` but locks, and those that hold times; half-written ones too, which may not stay."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.name not in TIMED
    }


def forked(do: Callable[[], object], error: Path | None = None) -> int:
    """Start `do` in a process of its own, and return its number; what it raises is written to `error`."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        do()
        code = 0
    except BaseException as raised:
        if error:
            error.write_text(f"{type(raised).__name__}: {raised}", encoding="utf-8")
    finally:
        os._exit(code)  # no clean-up of what belongs to the process before


def ended(pid: int) -> int:
    """Wait for a process; its exit status, or the negative number of the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finished(pid: int) -> None:
    """Wait for a process that has to end well."""
    if code := ended(pid):
        raise RuntimeError(f"an undisturbed step ended with status {code}: run the tests of that step")
