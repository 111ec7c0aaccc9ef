"""Fixtures shared by all tests: where real data is, and small generated data where it is not."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from filelock import FileLock

from ctxlstm import classroom, stickfigures
from ctxlstm.support import files

torch.set_num_threads(1)  # small tensors: more threads would only wait for each other

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
def tiny_clips(tmp_path_factory) -> Path:
    """A small data set of real .avi files: 3 classes, 4 groups, 2 clips a group, in UCF101's layout."""
    root = tmp_path_factory.mktemp("clips") / "stickfigures"
    return stickfigures.render(
        root, classes=stickfigures.CLASSES[:3], groups=4, clips=2, workers=1, progress=False
    )


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
def html(tmp_path_factory) -> Path:
    """The book as web pages, as `make html` builds them."""
    out = tmp_path_factory.mktemp("html")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run([*command, Path(__file__).parents[1] / "book", out], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out
