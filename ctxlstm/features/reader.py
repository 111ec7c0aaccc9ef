"""Read a finished feature cache: whole into memory, or by rows if it is larger than memory.

Opening checks the sizes of the chunk files without reading them; reading a chunk checks its checksum.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CRC_BYTES = 4  # bytes that the codec crc32c adds to a chunk
# What Zarr, and zarrs for chunks, raise when the bytes read are not those that were written. Any other error
# (no permission, no memory, a bug in this code) is not damage and propagates.
DESCRIPTION, CHUNK = (ValueError, KeyError, TypeError), (ValueError, RuntimeError)
AT_ONCE = 1024  # clips read at once if some are left out: enough to be fast, in little memory
# zarrs reads chunks on all cores, straight into the result. Without it, Zarr reads the same, only slower. For
# reading only: zarrs would not write a chunk to a temporary file and rename it.
CODECS = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"} if find_spec("zarrs") else {}


class Stored:
    """Features (N, T, D) float16 that stay on disk, for data larger than memory; `x[rows]` reads some clips.

    A clip is read with its whole chunk, which holds up to eight clips: random rows cost up to eight times
    their bytes.
    """

    dtype, device = torch.float16, torch.device("cpu")

    def __init__(self, path: Path, count: int, rows: np.ndarray) -> None:
        """Open the cache of `count` clips at `path`; `rows` selects some of them, int64 (N,), ascending.

        Raises:
            ValueError: a damaged description, or a missing or incomplete chunk file.
        """
        import zarr

        self._path, self._rows = path, rows
        with _damage_is_told(path, *DESCRIPTION), zarr.config.set(CODECS):
            self._array = zarr.open_array(path / "features.zarr", mode="r")
        if self._array.shape[0] != count or self._array.shape[1:] != self._array.chunks[1:]:
            raise ValueError(
                _damaged(path, f"features of {count} clips cannot have shape {self._array.shape}")
            )
        self._check_files()
        self.shape = torch.Size((len(rows), *self._array.shape[1:]))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        """Bytes that all features take in memory."""
        return self.shape.numel() * self.dtype.itemsize

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Features (B, T, D) float16 of the clips with these numbers (B,) int64, in memory.

        Raises:
            ValueError: a chunk does not match its checksum, or lacks a clip. IndexError: no such clip.
        """
        wanted = self._rows[rows.cpu().numpy()]
        with _damage_is_told(self._path, *CHUNK):
            x = np.asarray(self._array.oindex[wanted])  # (B, T, D)
        return torch.from_numpy(self._whole(x, wanted))

    def read(self) -> Tensor:
        """All features in memory, (N, T, D) float16, in one copy. Raises ValueError as `x[rows]` does."""
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
        """Return x (B, T, D); raise ValueError if one of its clips, the cache's `rows`, was never written."""
        lost = rows[np.isnan(x[:, 0, 0])]
        if len(lost):
            raise ValueError(_damaged(self._path, f"the features of clip {lost[0]} are missing"))
        return x


def _damaged(path: Path, reason: object) -> str:
    return (
        f"the feature cache at {path} is damaged ({reason}): run features.extract once more, which "
        "repairs only what is damaged"
    )


@contextmanager
def _damage_is_told(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Turn these errors, Zarr's for a damaged chunk or description, into one that says what to do."""
    try:
        yield
    except kinds as error:
        raise ValueError(_damaged(path, error)) from error
