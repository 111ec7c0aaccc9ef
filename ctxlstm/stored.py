"""A finished feature cache, read: whole into memory, or by rows where it is larger than memory.

Opening looks at the chunk files' sizes and reads none of them; Zarr checks the checksum of every chunk that is read.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from ctxlstm.cache import AWAY, file_bytes

CRC_BYTES = 4  # that the codec crc32c adds to a chunk
AT_ONCE = 64  # clips that are asked for at once when all are read: enough to be quick, and little memory


class _Mapped(LocalStore):
    """Zarr's store of files, which does not copy what it reads: a chunk is checked, and used, where the system has it."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """A chunk as a mapped file, anything else as Zarr reads it."""
        if byte_range is not None or not key.startswith("c/"):
            return await super().get(key, prototype, byte_range)
        try:
            data = np.memmap(self.root / key, np.uint8, "r")
        except FileNotFoundError:
            return None
        return (prototype or default_buffer_prototype()).buffer.from_array_like(data)


class Stored:
    """Features (N, T, D) float16 that stay on disk, for data larger than memory; `x[rows]` reads some clips.

    A clip is read with the others of its chunk, of which there are up to eight: random rows cost that many times
    their bytes.
    """

    dtype, device = torch.float16, torch.device("cpu")

    def __init__(self, path: Path, rows: np.ndarray):
        """Open the cache at `path`; `rows`: which of its clips these are, int64 (N,), ascending.

        Raises:
            ValueError: a damaged description, a chunk file that is not there or not whole.
        """
        self._path, self._rows = path, rows
        with _damage_is_told(path):
            self._array = zarr.open_array(_Mapped(path / "features.zarr", read_only=True), mode="r")
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
        with _damage_is_told(self._path):
            x = self._array.oindex[wanted]  # (B, T, D)
        return torch.from_numpy(self._whole(x, wanted))

    def read(self) -> Tensor:
        """All of it in memory, (N, T, D) float16, never there twice. Raises ValueError as `x[rows]` does."""
        x = np.empty(self.shape, np.float16)  # (N, T, D)
        memory = default_buffer_prototype().nd_buffer
        count, chunk = self._array.shape[0], self._array.chunks[0]
        step = chunk * max(1, AT_ONCE // chunk)
        for start in range(0, count, step):
            clips = slice(start, min(start + step, count))
            first, last = np.searchsorted(self._rows, (clips.start, clips.stop))
            rows, part = self._rows[first:last], x[first:last]
            with _damage_is_told(self._path):
                if len(rows) == clips.stop - clips.start:  # straight to where it stays
                    self._array.get_basic_selection(clips, out=memory.from_ndarray_like(part))
                elif len(rows):
                    part[:] = self._array[clips][rows - start]
            self._whole(part, rows)
        return torch.from_numpy(x)

    def _check_files(self) -> None:
        step, folder = self._array.chunks[0], self._path / "features.zarr" / "c"
        size = int(np.prod(self._array.chunks)) * self.dtype.itemsize + CRC_BYTES
        for number in np.unique(self._rows // step):  # a chunk with none of these clips may have no file
            found = file_bytes(str(folder / f"{number}" / "0" / "0"))
            if found != size:
                state = "is missing" if found == AWAY else f"has {found} bytes instead of {size}"
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
def _damage_is_told(path: Path):
    """Turn whatever Zarr raises for a damaged chunk or description into a sentence that says what to do."""
    try:
        yield
    except Exception as error:
        raise ValueError(_damaged(path, error)) from error
