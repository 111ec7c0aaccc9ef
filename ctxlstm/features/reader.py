"""A finished feature cache, read: whole into memory, or by rows where it is larger than memory.

Opening looks at the chunk files' sizes and reads none of them; the checksum of every chunk that is read is checked.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CRC_BYTES = 4  # that the codec crc32c adds to a chunk
# What reading raises where the bytes are not those that were written: Zarr and, for chunks only, zarrs. All else (a file
# that may not be read, no memory, a fault of this code) is no damage and is left as it is.
DESCRIPTION, CHUNK = (ValueError, KeyError, TypeError), (ValueError, RuntimeError)
AT_ONCE = 1024  # clips that are read at once where some are left out: enough to be quick, and little memory
# zarrs reads chunks on all cores and straight to where they stay. Where it is not there Zarr reads the same, slower.
# For reading alone: it would not write a chunk aside and rename it.
CODECS = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"} if find_spec("zarrs") else {}


class Stored:
    """Features (N, T, D) float16 that stay on disk, for data larger than memory; `x[rows]` reads some clips.

    A clip is read with the others of its chunk, of which there are up to eight: random rows cost that many times
    their bytes.
    """

    dtype, device = torch.float16, torch.device("cpu")

    def __init__(self, path: Path, count: int, rows: np.ndarray) -> None:
        """Open the cache at `path` of `count` clips; `rows`: which of them these are, int64 (N,), ascending.

        Raises:
            ValueError: a damaged description, a chunk file that is not there or not whole.
        """
        import zarr

        self._path, self._rows = path, rows
        with _damage_is_told(path, *DESCRIPTION), zarr.config.set(CODECS):
            self._array = zarr.open_array(path / "features.zarr", mode="r")
        if self._array.shape[0] != count or self._array.shape[1:] != self._array.chunks[1:]:
            raise ValueError(_damaged(path, f"features of {count} clips cannot be {self._array.shape}"))
        self._check_files()
        self.shape = torch.Size((len(rows), *self._array.shape[1:]))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes that all of it takes in memory."""
        return self.shape.numel() * self.dtype.itemsize

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Features (B, T, D) float16 of the clips with these numbers (B,) int64, in memory.

        Raises:
            ValueError: a chunk does not fit its checksum, or lacks a clip. IndexError: no such clip.
        """
        wanted = self._rows[rows.cpu().numpy()]
        with _damage_is_told(self._path, *CHUNK):
            x = np.asarray(self._array.oindex[wanted])  # (B, T, D)
        return torch.from_numpy(self._whole(x, wanted))

    def read(self) -> Tensor:
        """All of it in memory, (N, T, D) float16, never there twice. Raises ValueError as `x[rows]` does."""
        count = self._array.shape[0]
        if len(self) == count:
            with _damage_is_told(self._path, *CHUNK):
                x = np.asarray(self._array[:])  # (N, T, D)
            return torch.from_numpy(self._whole(x, self._rows))
        x = np.empty(self.shape, np.float16)  # (N, T, D)
        for start in range(0, count, AT_ONCE):
            first, last = np.searchsorted(self._rows, (start, start + AT_ONCE))
            rows = self._rows[first:last]
            with _damage_is_told(self._path, *CHUNK):
                x[first:last] = np.asarray(self._array[start : start + AT_ONCE])[rows - start]
            self._whole(x[first:last], rows)
        return torch.from_numpy(x)

    def _check_files(self) -> None:
        step, folder = self._array.chunks[0], self._path / "features.zarr" / "c"
        size = int(np.prod(self._array.chunks)) * self.dtype.itemsize + CRC_BYTES
        for number in np.unique(self._rows // step):  # a chunk with none of these clips may have no file
            file = folder / f"{number}/0/0"
            found = file.stat().st_size if file.is_file() else None
            if found != size:
                state = "is missing" if found is None else f"has {found} bytes instead of {size}"
                raise ValueError(_damaged(self._path, f"chunk {number} {state}"))

    def _whole(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """x (B, T, D), or ValueError if one of these clips, the cache's `rows` (B,), was never written."""
        lost = rows[np.isnan(x[:, 0, 0])]
        if len(lost):
            raise ValueError(_damaged(self._path, f"the features of clip {lost[0]} are missing"))
        return x


def _damaged(path: Path, reason: object) -> str:
    return (
        f"the feature cache at {path} is damaged ({reason}): run features.extract once more, it repairs only what is "
        "damaged"
    )


@contextmanager
def _damage_is_told(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Turn these errors, which Zarr raises for a damaged chunk or description, into what to do."""
    try:
        yield
    except kinds as error:
        raise ValueError(_damaged(path, error)) from error
