"""Files that are whole at any moment, the folder for generated data, locks, clip checksums, a full disk."""

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

AWAY = ""  # what `seen` returns for a clip that is not there
NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)  # some network file systems


@contextmanager
def written(path: str | Path, *, shared: bool = False) -> Iterator[Path]:
    """Write a file or folder as `NAME.part`, which is yielded, and rename it: `path` is whole or not there.

    After an error the part is removed and `path` stays as it was; a full disk is reported in a sentence. The
    next call removes a part that a killed process has left.

    Args:
        path: the file or folder; its own folder is made if missing.
        shared: other processes may write the same path meanwhile, so each part has a name of its own
            (`.NAME.*.part`); a killed process leaves it there.
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
    return Path(named).expanduser()  # a notebook or a service sets it without a shell that would expand ~


def seen(path: str) -> str:
    """Size and time of a video file, or of all files of a frame folder, as text; AWAY if it is not there.

    A quick check: while the text stays the same, nobody has touched the clip.
    """
    try:
        if not os.path.isdir(path):
            return _stamp(os.stat(path))
        stamps = [f"{_stamp(entry.stat())} {entry.name}" for entry in _inside(path)]
    except OSError:
        return AWAY
    return f"{len(stamps)} files, {_sha256_of(stamps)}"


def content(path: str) -> str | None:
    """SHA-256 of a video file, or of a frame folder's file names and contents; None if it cannot be read.

    It is the same on every machine and under every path.
    """
    try:
        if not os.path.isdir(path):
            return _file_sha256(path)
        return _sha256_of([f"{_file_sha256(entry.path)} {entry.name}" for entry in _inside(path)])
    except OSError:
        return None


def _inside(folder: str) -> list[os.DirEntry]:
    """The files of a folder, by name; dot files, which a system or an editor makes, are left out."""
    with os.scandir(folder) as entries:
        files = [e for e in entries if not e.name.startswith(".") and os.path.isfile(e.path)]
    return sorted(files, key=lambda entry: entry.name)


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_size} bytes at {found.st_mtime_ns}"


def _file_sha256(path: str) -> str:
    if not os.path.isfile(path):
        raise FileNotFoundError(path)  # reading a pipe or a device would block
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of(lines: list[str]) -> str:
    text = "\n".join(lines).encode(errors="surrogateescape")  # file names need not be text
    return hashlib.sha256(text).hexdigest()


@contextmanager
def locked(lock: Path, doing: str) -> Iterator[None]:
    """Hold the file `lock` for this process alone; the system releases it however the process ends.

    If the file system has no such locks, a file beside it (`lock` + "ed") exists as long as it is held.

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
        message = f"the disk is full while {doing}: free some space and run the same command again; it resumes from what is saved"
        raise OSError(errno.ENOSPC, message) from error
