"""TIFF files written byte by byte, with any tags and strips, because libraries write only consistent files."""

import struct

H, W = 24, 40
_CODES = {2: "s", 3: "H", 4: "I"}


def page(pixels, *, strips=None, stored_in=None, gap=0, **tags):
    """Describe a page of 16-bit pixels; ``tags`` (``t262=0``) replace its usual tags.

    ``strips`` are the bytes of the strips, and ``stored_in`` their order in the file, with ``gap`` bytes after each.
    """
    height, width = pixels.shape
    usual = {256: width, 257: height, 258: 8 * pixels.dtype.itemsize, 259: 1, 262: 1, 277: 1, 278: height, 339: 1}
    told = usual | {int(name[1:]): value for name, value in tags.items()}
    return told, strips or [pixels.tobytes()], stored_in, gap


def write(path, pages, header=b""):
    """Write pages to a little-endian TIFF; ``header`` is written after the first 8 bytes."""
    out, link = bytearray(b"II*\0\0\0\0\0" + header), 4
    for tags, strips, stored_in, gap in pages:
        places = [0] * len(strips)
        for number in stored_in or range(len(strips)):
            places[number] = len(out)
            out += strips[number] + b"\7" * gap
        tags = {273: places, 279: [len(strip) for strip in strips]} | tags
        entries = []
        for tag in sorted(tags):
            value = tags[tag]
            values = value if isinstance(value, list | tuple) else [value]
            if isinstance(value, bytes):
                kind, count, data = 2, len(value), value
            else:
                kind = 4 if tag in (273, 279, 254) else 3
                count, data = len(values), struct.pack(f"<{len(values)}{_CODES[kind]}", *values)
            if len(data) > 4:
                out += bytes(len(out) % 2)
                place = struct.pack("<I", len(out))
                out += data
                data = place
            entries.append(struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0"))
        out += bytes(len(out) % 2)
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(entries)) + b"".join(entries)
        link = len(out)
        out += bytes(4)
    path.write_bytes(out)
    return path
