"""Random movies of all formats, intact or damaged, with the frames that they really contain."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
import yaml

H, W = 8, 11


@dataclass
class Case:
    """Movie, options to open it, and the expected result."""

    path: Path
    options: dict
    truth: np.ndarray
    """All frames ``(n, Y, X)`` in the order of acquisition."""
    places: dict[Path, np.ndarray]
    """Start offsets and stored sizes of the frames in each file, in the order of ``truth``."""
    whole: list[int]
    """Numbers of the frames that are completely in the file."""
    is_damaged: bool = False
    may_refuse: bool = False
    """Whether salvage may fail, because the start of the file is lost or no frame is complete."""
    told: str = ""


def frames(rng, n, dtype="uint16"):
    return rng.integers(90, 400 if dtype != "uint8" else 250, (n, H, W)).astype(dtype)


def offsets(path):
    with tifffile.TiffFile(path, is_ome=False, is_shaped=False, is_imagej=False) as tiff:
        return np.array([page.dataoffsets[0] for page in tiff.pages])


def stored_sizes(path):
    with tifffile.TiffFile(path) as tiff:
        return np.array([sum(page.databytecounts) for page in tiff.pages])


def plain_pages(path, data, rng, **options):
    with tifffile.TiffWriter(path, bigtiff=bool(rng.integers(2)), byteorder=rng.choice(["<", ">"])) as writer:
        for frame in data:
            writer.write(frame, contiguous=False, photometric="minisblack", metadata=None, **options)


def one_piece(path, data, rng):
    order = rng.choice(["<", ">"])
    tifffile.imwrite(
        path, data, photometric="minisblack", metadata=None, byteorder=order, bigtiff=bool(rng.integers(2))
    )


def shaped(path, data, rng):
    axes = {"axes": "TYX"} if rng.integers(2) else {}
    tifffile.imwrite(path, data, photometric="minisblack", metadata=axes, bigtiff=bool(rng.integers(2)))


def imagej(path, data, rng):
    if rng.integers(2) and len(data) % 2 == 0:
        tifffile.imwrite(
            path, data.reshape(-1, 2, H, W), imagej=True, metadata={"axes": "TZYX", "spacing": 0.4, "unit": "um"}
        )
    else:
        tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TYX"})


def ome(path, data, rng):
    many = rng.integers(2) and len(data) % 2 == 0
    tifffile.imwrite(
        path, data.reshape(-1, 2, H, W) if many else data, ome=True, metadata={"axes": "TZYX" if many else "TYX"}
    )


def compressed(path, data, rng):
    kind = rng.choice(["zlib", "lzw", "zstd"])
    plain_pages(
        path, data, rng, compression=kind, rowsperstrip=int(rng.choice([3, H])), predictor=bool(rng.integers(2))
    )


TIFFS: dict[str, Callable] = {f.__name__: f for f in (plain_pages, one_piece, shaped, imagej, ome, compressed)}


def single(folder, rng):
    """Make one file of a random format, intact or damaged."""
    kind = rng.choice([*TIFFS, "dax", "raw"])
    sizes = None
    n = int(rng.integers(2, 13))
    data = frames(rng, n, "uint16" if kind in ("dax", "imagej") else rng.choice(["uint16", "uint8", "float32"]))
    if kind in TIFFS:
        path = folder / ("a.ome.tif" if kind == "ome" else "a.tif")
        TIFFS[kind](path, data, rng)
        starts = offsets(path)
        sizes = stored_sizes(path) if kind == "compressed" else sizes
        if len(starts) < n or kind in ("imagej", "ome", "shaped", "one_piece"):
            starts = starts[0] + data[0].nbytes * np.arange(n)
    else:
        path = folder / f"a.{kind}"
        path.write_bytes(data.tobytes())
        starts = data[0].nbytes * np.arange(n)
        if kind == "dax":
            text = f"frame dimensions = {W} x {H}\nnumber of frames = {n}\nlittle endian\n"
            path.with_suffix(".inf").write_text(text)
        else:
            about = {"Frames": n, "Height": H, "Width": W, "Data Type": str(data.dtype), "Byte Order": "<"}
            path.with_suffix(".yaml").write_text(yaml.safe_dump(about))
    sizes = np.full(n, data[0].nbytes) if sizes is None else sizes
    case = Case(path, {}, data, {path: (starts, sizes)}, list(range(n)), told=kind)
    damage = rng.choice(["none", "cut", "zeros", "ends", "more"])
    if damage != "none":
        _damage(case, damage, kind, rng)
    return case


def _damage(case, damage, kind, rng):
    path, n = case.path, len(case.truth)
    before = bytearray(path.read_bytes())
    (starts, sizes), size = case.places[path], case.truth[0].nbytes
    at = int(rng.integers(len(before) // 20, len(before)))
    case.is_damaged = True
    case.told += f" {damage} {at}"
    if damage == "cut":
        path.write_bytes(before[:at])
        case.whole = [i for i in range(n) if starts[i] + sizes[i] <= at]
    elif damage == "zeros":
        after = before[:at] + bytes(len(before) - at)
        path.write_bytes(after)
        stored = [slice(start, start + count) for start, count in zip(starts, sizes, strict=True)]
        case.whole = [i for i, place in enumerate(stored) if before[place] == after[place]]
        case.is_damaged = after != before
    elif damage == "ends" and kind in ("plain_pages", "compressed") and n > 2:
        keep = int(rng.integers(1, n - 1))
        _end_chain(path, before, keep)
        case.whole = list(range(keep))
    else:
        extra = rng.integers(1, 255, int(rng.integers(1, 4)) * size + 3).astype("uint8").tobytes()
        path.write_bytes(before + extra)
        if kind in ("dax", "raw"):  # the additional bytes are frames, although the description does not count them
            more = np.frombuffer(extra[: len(extra) // size * size], case.truth.dtype).reshape(-1, H, W)
            case.truth = np.concatenate([case.truth, more])
            case.whole = list(range(len(case.truth)))
    case.may_refuse = at < starts[0] + sizes[0] or not case.whole


def _end_chain(path, data, keep):
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    head, count, entry, offset = (8, "Q", 20, "Q") if big else (4, "H", 12, "I")
    (at,) = struct.unpack_from(order + offset, data, head)
    for _ in range(keep):
        (tags,) = struct.unpack_from(order + count, data, at)
        place = at + struct.calcsize(count) + tags * entry
        (at,) = struct.unpack_from(order + offset, data, place)
    struct.pack_into(order + offset, data, place, 0)
    path.write_bytes(data)


NAMES = {
    "plain": lambda i, p, c: f"vol_{i}.tif",
    "padded": lambda i, p, c: f"mov{i:04d}.tif",
    "from one": lambda i, p, c: f"frame{i + 1}.tif",
    "bare": lambda i, p, c: f"mov_{i}.tif" if i else "mov.tif",
    "bare, ome": lambda i, p, c: f"a_MMStack_Pos{p}_{i}.tif" if i else f"a_MMStack_Pos{p}.tif",
    "words": lambda i, p, c: f"cell_pos{p}_ch{c}_t{i:03d}.tif",
    "micro-manager": lambda i, p, c: f"img_{i:09d}_{('Cy3', 'Cy5')[c]}_000.tif",
    "micro-manager 2": lambda i, p, c: f"img_channel{c:03d}_position{p:03d}_time{i:09d}_z000.tif",
    "lls": lambda i, p, c: f"cell_ch{c}_stack{i:04d}_{488 + 72 * c}nm_{i * 100:07d}msec_{i * 100 + 7:010d}msecAbs.tif",
    "date first": lambda i, p, c: f"20260101_exp_{i}.tif",
}
POSITIONS, CHANNELS = {"bare, ome", "words", "micro-manager 2"}, {"words", "micro-manager", "micro-manager 2", "lls"}


def series(folder, rng):
    """Make a folder of files, in which one may be missing, additional or of another kind."""
    style = str(rng.choice(list(NAMES)))
    one_frame = style.startswith("micro")
    n, planes = int(rng.integers(3, 13)), 1 if one_frame else int(rng.integers(1, 5))
    data = frames(rng, n * planes).reshape(n, planes, H, W)
    name = NAMES[style]
    writer = TIFFS[str(rng.choice(["plain_pages", "one_piece", "shaped", "compressed"]))]
    for i in rng.permutation(n):
        writer(folder / name(i, 0, 0), data[i], rng)
    case = Case(folder, {}, data.reshape(-1, H, W), {}, list(range(n * planes)), told=f"{style} {n} x {planes}")
    if planes > 1 and style != "lls" and rng.integers(2):
        case.options["axes"] = "zyx"
    kinds = ["none", "gap", "position", "channel", "projection", "snapshot", "short", "shape", "type", "cut", "last"]
    damage = str(rng.choice(kinds))
    case.told += f" {damage}"
    extra = frames(rng, planes)
    middle = int(rng.integers(1, n - 1))
    place = folder / name(middle, 0, 0)
    case.is_damaged = True
    if damage == "gap":
        place.unlink()
    elif damage == "position" and style in POSITIONS:
        writer(folder / name(middle, 1, 0), extra, rng)
    elif damage == "channel" and style in CHANNELS:
        writer(folder / name(middle, 0, 1), extra, rng)
    elif damage == "projection":
        writer(folder / f"MAX_{name(0, 0, 0)}", extra[:1], rng)
        case.is_damaged = style != "lls"  # left out with a warning
    elif damage == "snapshot":
        writer(folder / "snapshot.tif", extra[:1], rng)
        case.is_damaged = style != "lls"
    elif damage == "short" and planes > 1:
        writer(place, data[middle][:-1], rng)
    elif damage == "shape":
        tifffile.imwrite(place, np.zeros((planes, W, H), "uint16") + 100, photometric="minisblack", metadata=None)
    elif damage == "type":
        writer(place, data[middle].astype("float32"), rng)
    elif damage == "cut":
        content = place.read_bytes()
        place.write_bytes(content[: int(rng.integers(len(content) // 10, len(content)))])
    elif damage == "last":
        (folder / name(n - 1, 0, 0)).unlink()
        case.truth, case.is_damaged = data[:-1].reshape(-1, H, W), False  # the loss cannot be detected
    else:
        case.is_damaged = False
    return case


def choice(folder, rng):
    """Make complete files of two channels or positions, of which the options may select one."""
    style = str(rng.choice(sorted(POSITIONS | CHANNELS)))
    what = "position" if style in POSITIONS and (style not in CHANNELS or rng.integers(2)) else "channel"
    n = int(rng.integers(2, 6))
    data = frames(rng, 2 * n).reshape(2, n, H, W)
    writer = TIFFS[str(rng.choice(["plain_pages", "one_piece", "shaped"]))]
    for k in range(2):
        for i in range(n):
            place = (i, k, 0) if what == "position" else (i, 0, k)
            writer(folder / NAMES[style](*place), data[k, i][None], rng)
    case = Case(folder, {}, data[0], {}, list(range(n)), is_damaged=True, told=f"{style} two {what}s")
    if rng.integers(2):
        k = int(rng.integers(2))
        case.options, case.truth, case.is_damaged = {what: str(k)}, data[k], False
    return case


def ome_set(folder, rng):
    """Make OME-TIFFs that refer to each other; one may be missing or truncated, or an unrelated file added."""
    lengths = [int(rng.integers(1, 5)) for _ in range(int(rng.integers(2, 5)))]
    data = frames(rng, sum(lengths))
    names = [
        f"a_{'MMStack_Pos0' if rng.integers(2) else 'x'}{f'_{i}' if i else ''}.ome.tif" for i in range(len(lengths))
    ]
    order = rng.permutation(len(names)) if rng.integers(2) else np.arange(len(names))
    planes, at = [], 0
    parts = {}
    for k in order:
        name, length = names[k], lengths[k]
        parts[name] = data[at : at + length]
        for ifd in range(length):
            uuid = f'<UUID FileName="{name}">urn:uuid:{name}</UUID>'
            planes.append(f'<TiffData IFD="{ifd}" FirstT="{at + ifd}" PlaneCount="1">{uuid}</TiffData>')
        at += length
    rng.shuffle(planes)
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="I">'
        f'<Pixels ID="P" DimensionOrder="XYCZT" Type="uint16" SizeX="{W}" SizeY="{H}" SizeC="1" SizeZ="1" SizeT="{at}">'
        f'<Channel ID="C" SamplesPerPixel="1"/>{"".join(planes)}</Pixels></Image></OME>'
    )
    for name, part in parts.items():
        with tifffile.TiffWriter(folder / name) as writer:
            for i, frame in enumerate(part):
                writer.write(
                    frame, contiguous=False, photometric="minisblack", metadata=None, description=None if i else xml
                )
    case = Case(folder, {}, data, {}, list(range(len(data))), told="ome set")
    case.path = folder if rng.integers(2) else folder / names[int(rng.integers(len(names)))]
    damage = str(rng.choice(["none", "missing", "cut", "stranger"]))
    other = folder / names[int(rng.integers(len(names)))]
    case.told += f" {damage} {other.name} of {len(names)}"
    if damage == "missing" and other != case.path:
        first = next(i for i in range(len(data)) if (data[i] == parts[other.name][0]).all())
        other.unlink()
        case.is_damaged = True
        case.whole = [i for i in range(len(data)) if not first <= i < first + len(parts[other.name])]
    elif damage == "cut":
        content = other.read_bytes()
        other.write_bytes(content[: int(rng.integers(len(content)))])
        case.is_damaged, case.may_refuse, case.whole = True, True, None
    elif damage == "stranger" and case.path == folder:
        plain_pages(folder / "b_other.tif", data[:1], rng)
        case.is_damaged, case.may_refuse, case.whole = True, True, None
    return case


def ndtiff(folder, rng):
    """Make an NDTiff dataset whose index or files may be truncated, or lack time points."""
    from tests.movies.test_ndtiff import grid, write_ndtiff

    times, planes = int(rng.integers(3, 7)), int(rng.integers(1, 4))
    data = frames(rng, times * planes).reshape(times, planes, H, W)
    images = grid(data, "time", "z")
    rng.shuffle(images)
    damage = str(rng.choice(["none", "time", "image", "file", "cut", "index"]))
    flat = data.reshape(-1, H, W)
    case = Case(folder / "in", {}, flat, {}, list(range(len(flat))), damage != "none", told=f"ndtiff {damage}")
    if damage == "time":
        lost = int(rng.integers(times - 1))
        images = [item for item in images if item[0]["time"] != lost]
        case.whole = [i for i in range(len(flat)) if i // planes != lost]
    if damage == "image":
        lost = int(rng.integers(len(flat) - 1))
        images = [item for item in images if item[0]["time"] * planes + item[0]["z"] != lost]
        case.whole = [i for i in range(len(flat)) if i != lost]
    write_ndtiff(case.path, images)
    files = sorted(case.path.glob("*.tif"))
    if damage == "file":
        files[-1].unlink()
        case.whole, case.may_refuse = None, len(files) == 1
    elif damage in ("cut", "index"):
        path = files[0] if damage == "cut" else case.path / "NDTiff.index"
        content = path.read_bytes()
        path.write_bytes(content[: int(rng.integers(len(content) - 2))])
        case.whole, case.may_refuse = None, True
    return case


MAKERS = (single, series, choice, ome_set, ndtiff)
