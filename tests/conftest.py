"""Fixtures shared by all tests: where real data is, and small generated data where it is not."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from distributed import LocalCluster
from filelock import FileLock
from helpers import QUIET

from ctxlstm import classroom, stickfigures
from ctxlstm.support import files

torch.set_num_threads(1)  # small tensors: more threads would only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the same for kernels and programs that tests start

# Real clips and weights are for research use and never enter the repository. They are looked for beside
# the checkout, or where CTXLSTM_SHARED says.
SHARED = Path(os.environ.get("CTXLSTM_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def ucf101_subset() -> Path:
    """Folder with `videos/<Class>/*.avi` (300 real clips of 4 classes) and `ucfTrainTestlist/`."""
    folder = SHARED / "data" / "ucf101_subset"
    if not folder.is_dir():
        pytest.skip(
            f"real UCF101 clips are not at {folder} (set CTXLSTM_SHARED to the folder that holds data/)"
        )
    return folder


@pytest.fixture(scope="session")
def resnet50_weights() -> Path:
    """Real ImageNet ResNet-50 weights, stride variant v1, as safetensors."""
    path = SHARED / "weights" / "resnet50_v1_imagenet_keras.safetensors"
    if not path.is_file():
        pytest.skip(
            f"real ResNet-50 weights are not at {path} (set CTXLSTM_SHARED to the folder that holds weights/)"
        )
    return path


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """A function `once(name, make)`: the folder that `make(folder)` fills, made once for all workers of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        done = shared / name
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                with files.written(done) as part:
                    make(part)
        return done

    return folder


@pytest.fixture(scope="session")
def tiny_clips(once) -> Path:
    """A small data set of real .avi files: 3 classes, 4 groups, 2 clips a group, in UCF101's layout."""
    size = {"classes": stickfigures.CLASSES[:3], "groups": 4, "clips": 2}
    render = stickfigures.render
    return (
        once("clips", lambda out: render(out / "stickfigures", **size, workers=1, progress=False))
        / "stickfigures"
    )


@pytest.fixture(scope="session")
def two() -> Iterator[LocalCluster]:
    """A Dask cluster of two workers, known by its address; a worker that is killed is started anew."""
    with LocalCluster(n_workers=2, threads_per_worker=1, **QUIET) as dask:
        yield dask


@pytest.fixture(scope="session")
def sound_only(tmp_path_factory) -> Path:
    """A whole media file, sound.avi, with a second of silence and no video stream."""
    path = tmp_path_factory.mktemp("sound") / "sound.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


@pytest.fixture(scope="session")
def classroom_features() -> None:
    """The chapters' shared data are there; several processes of tests wait while one makes them."""
    folder = files.default_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "classroom.lock"):
        classroom.features()


@pytest.fixture(scope="session")
def html(once) -> Path:
    """The book as web pages, as `make html` builds them."""

    def build(out: Path) -> None:
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
        book = Path(__file__).parents[1] / "book"
        done = subprocess.run([*command, book, out], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return once("html", build)
