"""SIGKILL at any moment of rendering, extraction, training and packing: the second call ends as if nothing had been."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

from .common import Study, contents, ended, finished, forked


def run(folder: Path, count: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """Kill `count` steps, in turn; how many were killed and how many of them with something half done on disk."""
    study, rng = Study(folder), random.Random(seed)
    whole, lasts = {}, {}
    for name, step in study.steps().items():
        start = time.monotonic()
        finished(forked(lambda step=step, name=name: step(folder / f"whole {name}")))
        lasts[name] = time.monotonic() - start
        whole[name] = contents(folder / f"whole {name}")
    counted, wrong = {"kills": 0, "in the middle": 0} | dict.fromkeys(study.steps(), 0), []
    out, error = folder / "out", folder / "error"
    while counted["kills"] < count:
        name, step = list(study.steps().items())[counted["kills"] % 4]
        if name == "packing":
            shutil.copytree(study.results, out)
        before = contents(out)
        pid = forked(lambda step=step: step(out))
        moment = rng.uniform(0, lasts[name])
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        if ended(pid) == -signal.SIGKILL:  # else it was faster this time
            counted["kills"] += 1
            counted[name] += 1
            counted["in the middle"] += contents(out) not in (before, whole[name])
            where = f"{name}, killed after {moment:.4f} of {lasts[name]:.4f} s"
            if ended(forked(lambda step=step: step(out), error)):
                wrong.append(f"{where}: the second call ended with {error.read_text(encoding='utf-8')}")
            elif (found := contents(out)) != whole[name]:
                differ = sorted(
                    path for path in {*found, *whole[name]} if found.get(path) != whole[name].get(path)
                )
                wrong.append(f"{where}: another end than undisturbed: {', '.join(differ)}")
        shutil.rmtree(out, ignore_errors=True)
    return counted, wrong
