"""Writer of PNG files row by row, since libraries for PNG (Pillow, matplotlib) hold the whole picture in memory.

W3C, Portable Network Graphics (third edition), sections 5, 9 and 11.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

LONGEST_SIDE: Final = (1 << 31) - 1
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_CHUNK_BYTES: Final = 1 << 20
_LEVEL: Final = 6
_METRE: Final = 1


def write_png(path: Path, rows: Iterable[Bytes], *, width: int, height: int, pixel_nm: float, text: Mapping[str, str]
              ) -> None:  # fmt: skip
    """Write a colour picture.

    Parameters
    ----------
    rows
        Bytes ``(N, width, 3)``, ``height`` rows in total.
    pixel_nm
        Size of a pixel, written as pixels per metre (pHYs).
    text
        Texts about the file (tEXt), Latin-1.
    """
    with path.open("wb") as file:
        file.write(_SIGNATURE)
        file.write(_chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)))
        for key, value in text.items():
            file.write(_chunk(b"tEXt", key.encode("latin-1") + b"\0" + value.encode("latin-1", "replace")))
        per_metre = min(max(round(1e9 / pixel_nm), 1), LONGEST_SIDE)
        file.write(_chunk(b"pHYs", struct.pack(">2IB", per_metre, per_metre, _METRE)))
        packer, waiting, above = zlib.compressobj(_LEVEL), bytearray(), np.zeros(3 * width, dtype=np.uint8)
        num_rows = 0
        for some in rows:
            flat = np.ascontiguousarray(some, dtype=np.uint8).reshape(len(some), 3 * width)
            waiting += packer.compress(_filtered(flat, above).data)
            num_rows, above = num_rows + len(flat), flat[-1].copy()
            if len(waiting) >= _CHUNK_BYTES:
                file.write(_chunk(b"IDAT", bytes(waiting)))
                waiting.clear()
        if num_rows != height:
            raise ValueError(f"{num_rows} rows were given for a picture of {height} rows")
        file.write(_chunk(b"IDAT", bytes(waiting) + packer.flush()))
        file.write(_chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _filtered(rows: Bytes, above: Bytes) -> Bytes:
    """Return the filtered rows, each after the number of its filter: none, difference to the left, or to above.

    The filter with the least sum of absolute signed values is chosen: heuristic of the specification, 12.7.
    """
    candidates = [rows, rows.copy(), rows.copy()]
    candidates[1][:, 3:] -= rows[:, :-3]
    candidates[2][0] -= above
    candidates[2][1:] -= rows[:-1]
    costs = [np.abs(made.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for made in candidates]
    best = np.argmin(costs, axis=0)
    out = np.empty((len(rows), rows.shape[1] + 1), dtype=np.uint8)
    out[:, 0] = best
    for number, made in enumerate(candidates):
        chosen = best == number
        out[chosen, 1:] = made[chosen]
    return out
