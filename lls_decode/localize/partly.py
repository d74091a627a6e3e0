"""Localization of blocks with lost frames: all other frames are localized; a lost frame interrupts a sequence."""

import pyarrow as pa

from lls_decode.frames import FrameStack
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.place import place
from lls_decode.table import schema


def localize_partly(localizer: Localizer, stack: FrameStack) -> pa.Table:
    """Localize the frames that the stack's block owns and that could be read; return rows (see `localize.place`)."""
    if not len(stack.windows):
        return schema(with_sample=localizer.geometry is not None).empty_table()
    found = localizer.find_in_part(stack.adu_TYX, stack.windows)
    found.window[:] = stack.owned[found.window]
    scaling = localizer.bundle.info.scaling
    return place(found, stack.block, scaling=scaling, pixel=localizer.pixel, geometry=localizer.geometry)
