"""Name of the selected channel of a dataset, from its metadata."""

from typing import Any

from lls_decode.frames.mapping.frame_map import FrameMap
from lls_decode.frames.metadata.images import read_node
from lls_decode.frames.metadata.multiscales import Image
from lls_decode.frames.storage.keys import Keys


def channel_name(keys: Keys, image: Image, frame_map: FrameMap) -> str:
    """Return the name of the selected channel; empty if the dataset has only one channel, without a name.

    The name is the label in OME-Zarr's ``omero`` metadata, or the channel recorded in a converted store, or else the
    number of the channel.
    """
    paths = [path for path in (image.group, image.array) if path is not None]
    nodes = [node for path in paths if (node := read_node(keys, path)) is not None]
    for node in nodes:
        name = _label(node.ome.get("omero"), frame_map.channel) or _converted(node.attributes.get("lls_decode"))
        if name:
            return name
    return f"channel {frame_map.channel}" if frame_map.size("c") > 1 else ""


def _label(omero: Any, number: int) -> str:
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list) or number >= len(channels) or not isinstance(channels[number], dict):
        return ""
    label = channels[number].get("label")
    return label.strip() if isinstance(label, str) else ""


def _converted(ours: Any) -> str:
    name = ours.get("channel") if isinstance(ours, dict) else None
    return name if isinstance(name, str) else ""
