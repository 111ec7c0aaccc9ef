"""Short forms of the campaigns (`campaigns/__init__.py` has the long ones), and what they have found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from ctxlstm.training import checkpoint

ROOT = Path(__file__).parents[1]


def campaign(*arguments: str) -> dict[str, int]:
    """What a campaign counted. It forks, so it needs a process without pytest's threads."""
    command = [sys.executable, "-m", "tests.campaigns", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_what_is_killed_ends_as_if_nothing_had_been():
    counted = campaign("kills", "--count", "8")
    steps = ("rendering", "extraction", "training", "packing")
    assert [counted[step] for step in steps] == [2, 2, 2, 2]
    assert counted["in the middle"] > 0, "kills before and after the work disturb nothing"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_mutated_videos_are_used_or_refused():
    counted = campaign("mutations", "--count", "400")
    assert counted["used"] + counted["used, damage told"] + counted["refused"] == counted["videos"] == 400
    assert min(counted["used"], counted["used, damage told"], counted["refused"]) > 20, (
        "mutations of every kind"
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_flipped_bit_is_found_or_harmless():
    counted = campaign("flips", "--count", "60")
    assert counted["found"] + counted["harmless"] == 60
    assert counted["found"] > 40


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="a small file system is mounted by root"
)
def test_a_full_disk_is_told_wherever_it_fills_up():
    counted = campaign("full_disk", "--step", "200000")
    assert counted["full"] >= 4, "every step was stopped at least once"


def test_no_bit_of_a_checkpoint_head_flips_unnoticed(tmp_path):
    path, model = tmp_path / "checkpoint.safetensors", nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    rows, seconds, identity = [{"epoch": 1, "train_loss": 0.75}], [1.5], {"model": "linear"}
    checkpoint.save(path, model, optimizer, identity, rows, seconds)
    assert checkpoint.resume(path, model, optimizer, identity) == (rows, seconds)
    whole = path.read_bytes()
    for place in range(8 + int.from_bytes(whole[:8], "little")):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=path.name):
            checkpoint.resume(path, model, optimizer, identity)
