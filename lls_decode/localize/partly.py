"""Blocks of which some frames are lost: the others are localized, and a lost frame ends a sequence."""

import pyarrow as pa

from lls_decode.frames import FrameStack
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.place import place
from lls_decode.table import schema


def localize_partly(localizer: Localizer, stack: FrameStack) -> pa.Table:
    """Rows of the frames that the stack's block owns and that were read (see `localize.place`)."""
    if not len(stack.windows):
        return schema(with_sample=localizer.geometry is not None).empty_table()
    found = localizer.find_in_part(stack.adu_TYX, stack.windows)
    found.window[:] = stack.owned[found.window]
    scaling = localizer.bundle.info.scaling
    return place(found, stack.block, scaling=scaling, pixel=localizer.pixel, geometry=localizer.geometry)
