"""Settings of the C library that keep freed memory in the process, for faster inference on a CPU.

By default the memory of large activations is returned to the kernel and faulted in again at every layer, page by page.
On a CPU this costs as much time as the arithmetic. With these settings freed memory stays with the process. They work
with glibc only and have no effect elsewhere. The process itself makes the settings, instead of inheriting environment
variables: this also covers scripts, previews and workers started by users, and does not affect child processes.
"""

import logging

from lls_decode.system import c_library

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1
_TOP_PAD_BYTES = 64 << 20

logger = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Configure malloc not to return memory to the kernel; return whether it accepted the settings.

    All threads share one arena, because only the main arena can hold blocks of any size.
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
