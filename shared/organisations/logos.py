"""Check a logo by its content: PNG, or SVG without anything that runs or is fetched."""

from __future__ import annotations

import codecs
import re
import struct
import zlib
from xml.parsers import expat  # a document with a DOCTYPE is refused, so it has no entities

from shared.organisations.profile import Logo

MAX_LOGO_BYTES = 100 * 1024
MAX_SIDE = 2000  # pixels
PIECE_BYTES = 64 * 1024
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
SVG = "http://www.w3.org/2000/svg"
XLINK_HREF = "http://www.w3.org/1999/xlink href"
SVG_ELEMENTS = frozenset(
    ("svg", "g", "defs", "title", "desc", "path", "rect", "circle", "ellipse", "line", "polyline",
     "polygon", "text", "tspan", "linearGradient", "radialGradient", "stop", "clipPath", "mask",
     "style")
)  # fmt: skip
# In attributes and style sheets; what leads to a part of the same document is taken out before.
FOREIGN = re.compile(
    r"(url|src|image|image-set|expression)\s*\(|@import|(javascript|data)\s*:|//|\\", re.IGNORECASE
)
OWN_PART = re.compile(r"url\(\s*(['\"]?)#[\w.-]+\1\s*\)")
LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?:px)?")


def check_logo(content: bytes) -> Logo:
    """Return the logo, its type found by its content.

    Raises:
        ValueError: it is too large, broken, or of another type.
    """
    if len(content) > MAX_LOGO_BYTES:
        raise ValueError(f"has {len(content)} bytes; at most {MAX_LOGO_BYTES} (100 KB) are taken")
    if content.startswith(PNG_SIGNATURE):
        media_type, (width, height) = "image/png", _check_png(content)
    elif content.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
        media_type, (width, height) = "image/svg+xml", _check_svg(content)
    else:
        raise ValueError("is neither PNG nor SVG")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"is {width} by {height} pixels; each side may have 1 to {MAX_SIDE}")
    return Logo(media_type, content, width, height)


def _check_png(content: bytes) -> tuple[int, int]:
    """Return width and height.

    Source: https://www.w3.org/TR/png-3/
    """
    chunks: list[tuple[bytes, bytes]] = []
    at = len(PNG_SIGNATURE)
    while at < len(content) and (not chunks or chunks[-1][0] != b"IEND"):
        size, kind = (
            struct.unpack_from(">I4s", content, at) if at + 12 <= len(content) else (1, b"")
        )
        data, end = content[at + 8 : at + 8 + size], at + 12 + size
        if end > len(content) or zlib.crc32(kind + data) != int.from_bytes(content[end - 4 : end]):
            raise ValueError("is a broken PNG")
        chunks.append((kind, data))
        at = end
    kinds = [kind for kind, _ in chunks]
    if at != len(content) or kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"acTL" in kinds:
        raise ValueError("is a broken or moving PNG, or something stands behind its end")
    width, height, depth, colours, *methods = struct.unpack(">IIBBBBB", chunks[0][1][:13].ljust(13))
    if depth not in PNG_DEPTHS.get(colours, ()) or methods[:2] != [0, 0] or methods[2] > 1:
        raise ValueError("is a broken PNG")
    packed = b"".join(data for kind, data in chunks if kind == b"IDAT")
    if not _unpacks(packed, most_bytes=2 * (8 * MAX_SIDE + 8) * MAX_SIDE):
        raise ValueError("is a broken PNG")
    return width, height


def _unpacks(packed: bytes, *, most_bytes: int) -> bool:
    """Return True if the pixels are whole, and no more than the largest logo has."""
    unpacking, size = zlib.decompressobj(), 0
    try:
        while packed and size <= most_bytes:
            size += len(unpacking.decompress(packed, PIECE_BYTES))
            packed = unpacking.unconsumed_tail
    except zlib.error:
        return False
    return unpacking.eof and 0 < size <= most_bytes


def _check_svg(content: bytes) -> tuple[int, int]:
    """Return width and height; without any, 100 by 100."""
    sizes: list[dict[str, str]] = []
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse(what: str) -> None:
        raise ValueError(f"holds {what}, which a logo may not have; save it as plain SVG")

    def start(name: str, attributes: dict[str, str]) -> None:
        space, _, element = name.rpartition(" ")
        if space != SVG or element not in SVG_ELEMENTS or bool(sizes) == (element == "svg"):
            refuse(f"<{element[:40]}>")
        sizes.append(attributes)
        for attribute, value in attributes.items():
            short = attribute.rpartition(" ")[2]
            is_own = attribute in ("href", XLINK_HREF) and re.fullmatch(r"#[\w.-]+", value)
            is_link = short.lower() in ("href", "src", "base")
            if short.lower().startswith("on") or (is_link and not is_own):
                refuse(f"the attribute {short[:40]}")
            look(value)

    def look(text: str) -> None:
        if found := FOREIGN.search(OWN_PART.sub("", text)):
            refuse(f"{found[0]!r}")

    styles: list[str] = []
    parser.StartElementHandler = start
    parser.CharacterDataHandler = styles.append
    parser.StartDoctypeDeclHandler = lambda *_: refuse("a DOCTYPE")
    parser.ProcessingInstructionHandler = lambda *_: refuse("a processing instruction")
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"is a broken SVG: line {error.lineno}") from None
    look("".join(styles))
    return _size_of_svg(sizes[0])


def _size_of_svg(attributes: dict[str, str]) -> tuple[int, int]:
    box = attributes.get("viewBox", "").replace(",", " ").split()
    named = attributes.get("width", ""), attributes.get("height", "")
    found = [LENGTH.fullmatch(text) for text in named]
    if not all(found):
        found = [LENGTH.fullmatch(text) for text in box[2:4]] if len(box) == 4 else []  # noqa: PLR2004
    sides = [max(1, round(float(each[1]))) for each in found if each]
    return (sides[0], sides[1]) if len(sides) == 2 else (100, 100)  # noqa: PLR2004
