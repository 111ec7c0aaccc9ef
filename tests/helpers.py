"""What several test modules need: notebooks run as a user runs them, a moment to disturb, a Dask cluster to lose."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from distributed import Client

RUNS = Path(__file__).parents[1] / "papermill_runs"
QUIET = {"dashboard_address": ":0", "host": "127.0.0.1", "silence_logs": "CRITICAL", "memory_limit": 0}


def papermill(name: str, folder: Path, **parameters: object) -> subprocess.CompletedProcess[str]:
    """Run a notebook of papermill_runs/ into `folder`, as a user does; its progress is in `stderr`."""
    command = [sys.executable, "-m", "papermill", str(RUNS / f"{name}.ipynb"), str(folder / f"{name}.ipynb")]
    options = [text for key, value in parameters.items() for text in ("-p", key, str(value))]
    return subprocess.run(
        [*command, "--kernel", "python3", "--log-output", "--no-progress-bar", *options],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
        env=os.environ | {"CTXLSTM_CACHE": str(folder / "cache")},
    )


def printed(name: str, folder: Path) -> str:
    """All that the cells of a notebook printed that `papermill` has run into `folder`."""
    cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
    return "\n".join(o.text for c in cells for o in c.get("outputs", []) if o.output_type == "stream")


@contextmanager
def when(true: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Meanwhile, in a thread, wait until something is true and then act; it has to come true."""
    acted = threading.Event()

    def wait() -> None:
        deadline = time.monotonic() + 300
        while not true() and time.monotonic() < deadline:
            time.sleep(0.005)
        if true():
            act()
            acted.set()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()
    assert acted.is_set(), "the moment to disturb never came"


@contextmanager
def scheduler_and_worker(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    """A Dask scheduler and a worker, each a process of its own: the address, and the scheduler's process."""
    about = folder / "scheduler.json"
    about.unlink(missing_ok=True)
    where = ["--scheduler-file", str(about)]
    commands = (
        ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"],
        ["worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny"],
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [
        subprocess.Popen([sys.executable, "-m", "dask", *command, *where], **quiet) for command in commands
    ]
    try:
        while not about.exists():
            assert running[0].poll() is None, "the scheduler did not start"
            time.sleep(0.05)
        address = json.loads(about.read_text(encoding="utf-8"))["address"]
        with Client(address, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
        yield address, running[0]
    finally:
        for process in running:
            process.kill()
            process.wait()
