"""How this process's C library keeps the memory that the network gives back and asks for again.

Large activations are by default returned to the kernel and faulted in again at every layer, page by page; on a CPU that
costs as much as the arithmetic. With the settings here freed memory stays with the process. glibc only; elsewhere
nothing happens. Set in the process itself, not in the environment that it starts with: scripts, previews and workers
that users start need it too, it saves the same page faults, and programs that the process starts do not inherit it.
"""

import logging

from lls_decode.system import c_library

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1
_TOP_PAD_BYTES = 64 << 20

logger = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Tell malloc not to return memory to the kernel; says whether it listened.

    One arena for all threads, because only the main one can hold blocks of any size.
    """
    try:
        mallopt = getattr(c_library(), "mallopt", None)
    except OSError:
        mallopt = None
    if mallopt is None:
        return False
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _TOP_PAD_BYTES))
    listened = all(mallopt(name, value) == 1 for name, value in settings)
    logger.debug("malloc keeps freed memory: %s", listened)
    return listened
