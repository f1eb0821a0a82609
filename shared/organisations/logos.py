"""Check a logo by its content: PNG, or SVG without anything that runs or is fetched."""

from __future__ import annotations

import codecs
import re
import struct
import zlib
from typing import NoReturn
from xml.parsers import expat  # a document with a DOCTYPE is refused, so it has no entities

from shared.errors import ProfileError
from shared.organisations.profile import Logo

MAX_LOGO_BYTES = 100 * 1024
MAX_SIDE = 2000  # pixels
PIECE_BYTES = 64 * 1024
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
PNG_MOVING = {b"acTL", b"fcTL", b"fdAT"}
PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_PALETTE = 3
# Passes of an interlaced picture: where they begin and their steps, across and down (PNG, 8.1).
PNG_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2))  # fmt: skip
SVG = "http://www.w3.org/2000/svg"
XLINK_HREF = "http://www.w3.org/1999/xlink href"
SVG_ELEMENTS = frozenset(
    ("svg", "g", "defs", "title", "desc", "path", "rect", "circle", "ellipse", "line", "polyline",
     "polygon", "text", "tspan", "linearGradient", "radialGradient", "stop", "clipPath", "mask",
     "style")
)  # fmt: skip
SVG_ENCODINGS = ("utf-8", "us-ascii", "iso-8859-1")  # others are read in more than one way
MAX_DEPTH = 100  # of elements in elements
# In attributes and style sheets; what leads to a part of the same document is taken out before.
FOREIGN = re.compile(
    r"(url|src|image|image-set|expression)\s*\(|@import|keyframes|(javascript|data)\s*:|//|\\",
    re.IGNORECASE,
)
OWN_PART = re.compile(r"url\(\s*(['\"]?)#[\w.-]+\1\s*\)")
# Masks of masks would be drawn as often as the product of their shapes.
MASKS = {"clipPath", "mask"}
MASKED = re.compile("mask|clip-path", re.IGNORECASE)
NUMBER = r"[0-9]*\.?[0-9]+(?:e\+?[0-9]+)?"
LENGTH = re.compile(rf"({NUMBER})(?:px)?", re.IGNORECASE | re.ASCII)


def check_logo(content: bytes) -> Logo:
    """Return the logo, its type found by its content.

    Raises:
        ProfileError: it is too large, broken, or of another type.
    """
    try:
        return _read(content)
    except ValueError as error:
        raise ProfileError(f"logo: it {error}") from None


def _read(content: bytes) -> Logo:
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
    if at != len(content) or kinds[-1:] != [b"IEND"] or PNG_MOVING & set(kinds):
        raise ValueError("is a broken or moving PNG, or something stands behind its end")
    needed = [(kind, data) for kind, data in chunks if kind[:1].isupper()]
    head = needed[0][1]
    if [kind for kind, _ in needed if kind not in PNG_NEEDED[1:3]] != [b"IHDR", b"IEND"] or (
        kinds[0] != b"IHDR" or len(head) != 13 or chunks[-1][1]  # noqa: PLR2004
    ):
        raise ValueError("is a broken PNG")
    width, height, depth, colours, *methods = struct.unpack(">IIBBBBB", head)
    if depth not in PNG_DEPTHS.get(colours, ()) or methods[:2] != [0, 0] or methods[2] > 1:
        raise ValueError("is a broken PNG")
    if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE:
        bits, passes = depth * PNG_CHANNELS[colours], PNG_PASSES if methods[2] else ((0, 0, 1, 1),)
        packed = b"".join(data for kind, data in needed if kind == b"IDAT")
        has_palette = b"PLTE" in kinds or colours != PNG_PALETTE
        if not has_palette or not _unpacks(packed, _bytes_of(width, height, bits, passes)):
            raise ValueError("is a broken PNG")
    return width, height


def _bytes_of(width: int, height: int, bits: int, passes: tuple[tuple[int, ...], ...]) -> int:
    """Return how many bytes the pixels have: of each row a filter's byte, and whole bytes."""
    sizes = (
        (max(0, -((x - width) // across)), max(0, -((y - height) // down)))
        for x, y, across, down in passes
    )
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns)


def _unpacks(packed: bytes, whole_bytes: int) -> bool:
    """Return True if it unpacks to so many bytes, and nothing stands behind them."""
    unpacking, size = zlib.decompressobj(), 0
    try:
        while packed and size <= whole_bytes:
            size += len(unpacking.decompress(packed, PIECE_BYTES))
            packed = unpacking.unconsumed_tail
    except zlib.error:
        return False
    return unpacking.eof and not unpacking.unused_data and size == whole_bytes


def _check_svg(content: bytes) -> tuple[int, int]:
    """Return width and height; without any, 100 by 100."""
    reader, parser = _SvgReader(), expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = lambda _: reader.around.pop()
    parser.CharacterDataHandler = reader.read_text
    parser.XmlDeclHandler = reader.declare
    parser.StartDoctypeDeclHandler = lambda *_: _refuse("a DOCTYPE")
    parser.ProcessingInstructionHandler = lambda *_: _refuse("a processing instruction")
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"is a broken SVG: line {error.lineno}") from None
    _refuse_foreign(reader.styles)
    if reader.masks > 1 and MASKED.search(reader.styles):
        _refuse("a style sheet with masks, of which there are more than one")
    return _size_of_svg(reader.root)


class _SvgReader:
    """Refuses what no logo needs, element by element."""

    def __init__(self) -> None:
        self.root: dict[str, str] = {}  # the attributes of <svg>
        self.around: list[str] = []  # the elements that are open
        self.styles, self.masks = "", 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, element = name.rpartition(" ")
        if space != SVG or element not in SVG_ELEMENTS or bool(self.around) == (element == "svg"):
            _refuse(f"<{element[:40]}>")
        self.root = self.root or attributes
        self.around.append(element)
        self.masks += element in MASKS
        if len(self.around) > MAX_DEPTH:
            _refuse(f"more than {MAX_DEPTH} elements within each other")
        for attribute, value in attributes.items():
            short = attribute.rpartition(" ")[2]
            is_own = attribute in ("href", XLINK_HREF) and re.fullmatch(r"#[\w.-]+", value)
            is_link = short.lower() in ("href", "src", "base")
            if short.lower().startswith("on") or (is_link and not is_own):
                _refuse(f"the attribute {short[:40]}")
            if MASKS & {*self.around} and MASKED.search(value if short == "style" else short):
                _refuse("a mask of a mask")
            _refuse_foreign(value)

    def read_text(self, text: str) -> None:
        self.styles += text if self.around[-1] == "style" else ""

    def declare(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding and encoding.lower() not in SVG_ENCODINGS:
            _refuse(f"the encoding {encoding[:20]}")


def _refuse(what: str) -> NoReturn:
    raise ValueError(f"holds {what}, which a logo may not have; save it as plain SVG")


def _refuse_foreign(text: str) -> None:
    if found := FOREIGN.search(OWN_PART.sub("", text)):
        _refuse(f"{found[0]!r}")


def _size_of_svg(attributes: dict[str, str]) -> tuple[int, int]:
    box = attributes.get("viewBox", "").replace(",", " ").split()
    named = [attributes.get("width", ""), attributes.get("height", "")]
    for sides in (named, box[2:4]):
        found = [each for each in map(LENGTH.fullmatch, sides) if each]
        if len(found) == 2:  # noqa: PLR2004
            width, height = (round(min(float(each[1]), MAX_SIDE + 1)) for each in found)
            return width, height
    return 100, 100
