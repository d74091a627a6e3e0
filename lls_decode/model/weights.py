"""Check the weights of a bundle without torch: complete according to the header, and finite.

A network with a single NaN in its weights finds nothing in any frame, which looks like an empty sample.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.documents import open_regular_file, parse_json
from lls_decode.errors import BundleError
from lls_decode.outputs import note_read

LARGEST_HEADER_BYTES: Final = 32_000_000
"""Largest header of a bundle in bytes; the record of a long training takes less than one megabyte."""
_ADVICE: Final = "download or train it again"
_FLOATS: Final[dict[str, npt.DTypeLike]] = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_BFLOAT16_EXPONENT: Final = 0x7F80
_PIECE_BYTES: Final = 1 << 22


def check_weights(path: str | Path) -> None:
    """Check that the file of a bundle contains every tensor completely, and that all numbers are finite.

    Raises
    ------
    BundleError
        The file is truncated, or a weight is NaN or infinite; the message names the tensor.
    """
    path = Path(path)
    note_read(path)
    try:
        with open_regular_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > LARGEST_HEADER_BYTES:
                raise BundleError(f"Model bundle {path} is damaged (its header has {length} bytes); {_ADVICE}.")
            header = parse_json(file.read(length))
            size = path.stat().st_size - 8 - length
            for name, tensor in header.items():
                if name == "__metadata__":
                    continue
                start, stop = _place(path, name, tensor, size)
                for at in range(start, stop, _PIECE_BYTES):
                    file.seek(8 + length + at)
                    if not _is_finite(file.read(min(_PIECE_BYTES, stop - at)), tensor["dtype"]):
                        raise BundleError(
                            f"Model bundle {path} has weights that are NaN or infinite (in {name[:100]}): its training "
                            "diverged, or the file is damaged; train it again, or give another model."
                        )
    except OSError as error:
        raise BundleError(f"Model bundle {path} cannot be read ({error.strerror}); {_ADVICE}.") from error
    except (ValueError, AttributeError) as error:
        raise BundleError(f"Model bundle {path} is damaged ({error}); {_ADVICE}.") from error


def _place(path: Path, name: str, tensor: Any, size: int) -> tuple[int, int]:
    """Return the range of bytes of a tensor in the file; raise `BundleError` if the file does not contain it."""
    try:
        start, stop = (int(offset) for offset in tensor["data_offsets"])
        whole = 0 <= start <= stop <= size and isinstance(tensor["dtype"], str)
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise BundleError(f"Model bundle {path} is truncated or damaged: a part of {name[:100]} is missing; {_ADVICE}.")
    return start, stop


def _is_finite(data: bytes, dtype: str) -> bool:
    if dtype == "BF16":
        bits = np.frombuffer(data[: len(data) // 2 * 2], "<u2")
        return not bool(np.any((bits & _BFLOAT16_EXPONENT) == _BFLOAT16_EXPONENT))
    if dtype not in _FLOATS:
        return True
    kind = np.dtype(_FLOATS[dtype])
    return bool(np.isfinite(np.frombuffer(data[: len(data) // kind.itemsize * kind.itemsize], kind)).all())
