"""The cost model behind benchmarks/scaling.md: what a clip costs each resource, and which one is busy longest.

The resources of a machine work side by side, so a job takes as long as the busiest of them; a store that all
machines share does not get faster with their number. Units: seconds, bytes, bytes a second.

What was not measured stands at the top, as inputs: change it, then `python -m benchmarks.scaling --page`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

FRAMES = 28  # T, of a clip
BATCH = 80  # clips of a training step on each machine
WIDTHS = {"resnet50": 2048, "efficientnet_lite0": 1280}  # D
HEADS = ("cnn_lstm", "context_lstm")  # at the paper's sizes, on features of 2,048 numbers
DECODED_PIXELS = 320 * 240  # of the frames that were measured

# --- inputs: data sets, and what was not measured --------------------------------------------------------------------


@dataclass(frozen=True)
class Data:
    """A data set: clips; frames decoded a clip until the 28 are found; pixels of a frame; bytes of a video.

    `codec` is how many times the CPU seconds of UCF101's codec, MPEG-4 Part 2, a pixel takes.
    """

    name: str
    clips: int
    decoded: int
    pixels: int
    codec: float
    video_bytes: float


@dataclass(frozen=True)
class Machine:
    """A kind of machine.

    Attributes:
        cores: that decode and resize; gpu: whether backbone and head run on something else.
        backbone: seconds a frame, by name; head: seconds of training a clip, by name.
        memory, disk: bytes that hold features; disk_speed, network: bytes a second.
        measured: names of the fields that were; all others are assumed, and the page says so.
    """

    name: str
    cores: int
    gpu: bool
    backbone: Mapping[str, float]
    head: Mapping[str, float]
    memory: float
    disk: float
    disk_speed: float
    network: float
    measured: tuple[str, ...] = ()


DATA = (
    Data("UCF101", 13_320, 28, 320 * 240, 1, 0.5e6),
    Data("Kinetics-700", 650_000, 300, 340 * 256, 2, 1.1e6),
    Data("100 million clips", 100_000_000, 300, 340 * 256, 2, 1.1e6),
)
COUNTS = (1, 10, 100, 1000)  # machines
STORE = 10e9  # bytes a second that the shared store delivers or takes, to and from all machines together
# Not measured: a GPU machine as one might have it. Its cores are taken to be as fast as those that were measured.
GPU_MACHINE = Machine(
    "a GPU machine",
    cores=16,
    gpu=True,
    backbone={"resnet50": 1 / 8000, "efficientnet_lite0": 1 / 20_000},
    head={"cnn_lstm": 1 / 15_000, "context_lstm": 1 / 5000},
    memory=64e9,
    disk=4e12,
    disk_speed=3e9,
    network=3e9,
)
# Of the machine that measures, what it did not measure.
ASSUMED_HERE = {"disk": 1e12, "network": 125e6}


# --- the model -------------------------------------------------------------------------------------------------------


def fit(columns: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Coefficients, none below zero, of the linear model columns (N, k) @ coefficients (k,) = seconds (N,).

    The first column is 1 where there are fixed seconds. Least squares; a cost below zero would have no meaning.
    """
    matrix = np.array(columns, dtype=float)  # (N, k)
    scale = matrix.max(axis=0)  # bytes count in millions, frames in tens: brought to one size
    return [float(value) for value in nnls(matrix / scale, np.array(seconds, dtype=float))[0] / scale]


class Costs(NamedTuple):
    """CPU seconds of one core: a clip that is opened, a frame that is decoded, turned into RGB, resized."""

    open: float
    decode: float
    convert: float
    resize: float

    def clip(self, data: Data) -> float:
        """CPU seconds of one core for one clip of `data`."""
        pixels = data.pixels / DECODED_PIXELS
        frames = data.decoded * self.decode * data.codec + FRAMES * (self.convert + self.resize)
        return self.open + pixels * frames


def extraction(
    machine: Machine, data: Data, net: str, costs: Costs, count: int, store: float
) -> dict[str, float]:
    """Seconds that each resource is busy when `count` machines extract features, {resource: seconds}.

    Videos come from the store and features go there, both through the machine's network.
    """
    mine = math.ceil(data.clips / count)
    cpu = mine * costs.clip(data) / machine.cores
    forward = mine * FRAMES * machine.backbone[net]
    moved = data.video_bytes + feature_bytes(net)
    busy = {"cores": cpu, "GPU": forward} if machine.gpu else {"cores": cpu + forward}
    return busy | {"network": mine * moved / machine.network, "store": data.clips * moved / store}


def epoch(
    machine: Machine, data: Data, head: str, parameters: int, count: int, store: float
) -> dict[str, float]:
    """Seconds that each resource is busy in one epoch over all clips on `count` machines, {resource: seconds}.

    Each takes a batch of `BATCH` clips a step, so there are steps of BATCH * count clips, and after each the
    gradients are summed over the network (`sum_bytes`). A machine's share of the features lies in its memory if it
    fits, else on its disk, else in the store.
    """
    steps = math.ceil(data.clips / (BATCH * count))
    mine = BATCH * steps
    share = data.clips / count * feature_bytes()
    read = mine * feature_bytes() if share > machine.memory else 0
    far = read if share > machine.disk else 0
    sums = steps * sum_bytes(parameters) if count > 1 else 0
    return {
        "GPU" if machine.gpu else "cores": mine * machine.head[head],
        "disk": (read - far) / machine.disk_speed,
        "network": (far + sums) / machine.network,
        "store": count * far / store,
    }


def feature_bytes(net: str = "resnet50") -> int:
    """Bytes of a clip in the cache: T x D numbers of two bytes."""
    return FRAMES * WIDTHS[net] * 2


def sum_bytes(parameters: int) -> int:
    """Bytes that a machine sends, and as many that it gets, to sum the gradients of one step.

    4 bytes a parameter, twice (ring all-reduce): parts are summed on their way round, then the sums go round.
    """
    return 4 * parameters * 2


def slowest(busy: Mapping[str, float]) -> tuple[str, float]:
    """The resource that is busy longest, and its seconds."""
    return max(busy.items(), key=lambda item: item[1])


def store_limits_from(machine: Machine, data: Data, net: str, costs: Costs, store: float) -> int:
    """The number of machines from which the store, and nothing of theirs, sets the time of extraction."""
    busy = extraction(machine, data, net, costs, 1, store)
    shared = busy.pop("store")
    return math.ceil(slowest(busy)[1] / shared)
