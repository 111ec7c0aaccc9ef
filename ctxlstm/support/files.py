"""Files that are whole at any moment: the folder of generated things, locks, digests, a full disk told in a sentence."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import platformdirs
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from safetensors import SafetensorError

AWAY = -1  # size of a video that is not there
NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # some network file systems


@contextmanager
def written(path: str | Path, *, shared: bool = False) -> Iterator[Path]:
    """Write a file or folder aside (`NAME.part`, which is given) and rename it: `path` is whole or not there.

    After an error what was written aside is removed and `path` stays as it was; a full disk is told in a sentence.
    What a kill has left aside is removed by the next call.

    Args:
        path: the file or folder; its own folder is made if missing.
        shared: other processes may write the same path meanwhile: each does it under a name of its own
            (`.NAME.*.part`), which a kill leaves there.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part" if shared else f"{path.name}.part")
    with disk_full_is_told(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(part)
        try:
            yield part
            os.replace(part, path)
        except BaseException:
            _remove(part)
            raise


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def default_folder() -> Path:
    """Where generated data and features are kept: the folder that CTXLSTM_CACHE names, else the user's cache."""
    named = os.environ.get("CTXLSTM_CACHE") or platformdirs.user_cache_dir("ctxlstm", appauthor=False)
    return Path(named).expanduser()  # a notebook or a service sets it without a shell that would do that


def file_bytes(path: str) -> int:
    """Size of a video file, or the number of entries of a frame folder; AWAY if it is not there."""
    try:
        return sum(1 for _ in os.scandir(path)) if os.path.isdir(path) else os.path.getsize(path)
    except OSError:
        return AWAY


def file_digest(path: str) -> str | None:
    """SHA-256 of a file; None for a folder or what cannot be read."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


@contextmanager
def locked(lock: Path, doing: str) -> Iterator[None]:
    """Hold the file `lock` for this process alone; the system frees it when the process dies, however it dies.

    Where the file system has no such locks, a file beside it (`lock` + "ed") is there as long as it is held.

    Raises:
        RuntimeError: another process holds it. OSError: the folder cannot be written to.
    """
    held = _acquired(lock, doing)
    try:
        yield
    finally:
        held.release()


def _acquired(lock: Path, doing: str) -> BaseFileLock:
    marker = lock.with_name(f"{lock.name}ed")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = FileLock(lock)
            held.acquire(timeout=0)
        except OSError as error:
            if error.errno not in NO_FLOCK:
                raise
            held = SoftFileLock(marker)
            held.acquire(timeout=0)
        return held
    except Timeout as error:
        killed = f"; if it was killed, remove {marker}" if marker.exists() else ""
        raise RuntimeError(
            f"another process is {doing}: wait until it has finished, or give another folder{killed}"
        ) from error
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise OSError(
            error.errno, f"{lock.parent} cannot be written to ({error.strerror}): give another folder"
        ) from error


@contextmanager
def disk_full_is_told(doing: str) -> Iterator[None]:
    """Turn "no space left on device" into a sentence that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if getattr(error, "errno", None) != errno.ENOSPC and "os error 28" not in str(error).lower():
            raise
        message = f"the disk is full while {doing}: free some space and run the same command again, it goes on from what is saved"
        raise OSError(errno.ENOSPC, message) from error
