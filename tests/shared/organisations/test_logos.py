"""A logo is what its content says, and nothing that runs, is fetched or unpacks without end."""

from __future__ import annotations

import struct
import zlib

import pytest

from shared.errors import ProfileError
from shared.organisations.logos import MAX_LOGO_BYTES, MAX_SIDE, PNG_SIGNATURE, check_logo

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def a_png(
    width=20, height=10, *, depth=8, colours=6, interlaced=0, pixels=None, more=b"", behind=b"",
    end=b"",
) -> bytes:  # fmt: skip
    rows = b"".join(b"\0" + b"\x7f" * 4 * width for _ in range(height))
    packed = zlib.compress(rows if pixels is None else pixels)
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)
    chunks = chunk(b"IHDR", head) + more + chunk(b"IDAT", packed + behind) + chunk(b"IEND")
    return PNG_SIGNATURE + chunks + end


def an_svg(inside="", attributes='viewBox="0 0 200 40"') -> bytes:
    return f"{HEAD} {attributes}>{inside}</svg>".encode()


def test_a_png_is_known_by_its_content():
    logo = check_logo(a_png())

    assert (logo.media_type, logo.width, logo.height) == ("image/png", 20, 10)
    assert logo.content == a_png()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither PNG nor SVG"),
        (b"GIF89a\1\0\1\0", "neither PNG nor SVG"),
        (b"\xff\xd8\xff\xe0JFIF", "neither PNG nor SVG"),
        (b"RIFF\0\0\0\0WEBP", "neither PNG nor SVG"),
        (b"\xff\xfe<\0s\0v\0g\0", "neither PNG nor SVG"),
        (PNG_SIGNATURE, "broken"),
        (a_png()[:-1], "broken"),
        (a_png()[:-12], "broken"),
        (a_png()[:40], "broken"),
        (a_png().replace(b"IHDR", b"IHDS"), "broken"),
        (a_png(depth=3), "broken PNG"),
        (a_png(colours=5), "broken PNG"),
        (a_png(pixels=b""), "broken PNG"),
        (a_png().replace(b"\0\0\0\x14", b"\0\0\0\x15", 1), "broken PNG"),  # its sum is wrong now
        (a_png(pixels=b"\0" * 809), "broken PNG"),  # a byte less than 10 rows of 20 points
        (a_png(pixels=b"\0" * 811), "broken PNG"),
        (a_png(behind=b"<script>"), "broken PNG"),
        (a_png(interlaced=1), "broken PNG"),  # its rows are those of one that is not
        (a_png(colours=3, pixels=b"\0" * 210), "broken PNG"),  # it has no palette
        (a_png(more=chunk(b"IHDR", a_png()[16:29])), "broken PNG"),
        (a_png(more=chunk(b"EVIL")), "broken PNG"),
        (a_png().replace(chunk(b"IEND"), chunk(b"IEND", b"x")), "broken PNG"),
        (a_png(more=chunk(b"fdAT", b"\0" * 8)), "moving PNG"),
        (a_png(end=b"<script>"), "behind its end"),
        (a_png(more=chunk(b"acTL", b"\0\0\0\2\0\0\0\0")), "moving PNG"),
        (a_png(0, 10), "0 by 10 pixels"),
        (a_png(MAX_SIDE + 1, 1), f"{MAX_SIDE + 1} by 1 pixels"),
        (a_png() + b"\0" * MAX_LOGO_BYTES, "at most 102400"),
    ],
)
def test_what_is_no_sound_png_is_refused(content, why):
    with pytest.raises(ProfileError, match=why):
        check_logo(content)


@pytest.mark.parametrize(
    "content",
    [
        # 8 by 8 points of one bit: seven passes of 1, 1, 1, 2, 2, 4 and 4 rows
        a_png(8, 8, depth=1, colours=0, interlaced=1, pixels=b"\0\x7f" * 15),
        a_png(1, 1, depth=16, colours=2, interlaced=1, pixels=b"\0" * 7),
        a_png(colours=3, pixels=b"\0" * 210, more=chunk(b"PLTE", b"\0\0\0")),
        a_png(7, 3, depth=2, colours=0, pixels=b"\0" * 9),
    ],
)
def test_other_kinds_of_png_are_taken(content):
    assert check_logo(content).content == content


def test_pixels_without_end_are_refused():
    bomb = a_png(pixels=b"\0" * (70 * 1024 * 1024))
    assert len(bomb) < MAX_LOGO_BYTES

    with pytest.raises(ProfileError, match="broken PNG"):
        check_logo(bomb)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('viewBox="0 0 200 40"', (200, 40)),
        ('viewBox="0,0,200,40.4"', (200, 40)),
        ('width="120" height="30px"', (120, 30)),
        ('width="100%" height="100%" viewBox="0 0 64 64"', (64, 64)),
        ('width="1e2" height=".5e1"', (100, 5)),
        ("", (100, 100)),
    ],
)
def test_an_svg_is_as_large_as_it_says(attributes, size):
    logo = check_logo(an_svg('<path d="M0 0h9"/>', attributes))

    assert (logo.media_type, (logo.width, logo.height)) == ("image/svg+xml", size)


@pytest.mark.parametrize(
    "attributes",
    [
        'viewBox="0 0 99999 5"',
        'viewBox="0 0 5 1e300"',
        f'width="{"9" * 400}" height="5"',
        'width="0" height="5"',
        'width="0.2" height="5"',
    ],
)
def test_an_svg_without_a_size_or_too_large_is_refused(attributes):
    with pytest.raises(ProfileError, match=f"each side may have 1 to {MAX_SIDE}"):
        check_logo(an_svg("", attributes))


@pytest.mark.parametrize(
    "inside",
    [
        '<linearGradient id="b" xlink:href="#a"><stop/></linearGradient><rect fill="url(#b)"/>',
        "<style>.a{fill:#123}@media (prefers-color-scheme:dark){.a{fill:#fff}}</style>",
        """<g class="a"><circle r="1" style="fill:url('#b')"/></g>""",
        "<!-- a comment --><title>Acme &amp; Söhne</title><text>https://acme.example</text>",
        '<clipPath id="a"><path/></clipPath><style>.b{clip-path:url(#a)}</style><g class="b"/>',
        '<mask id="a"><path fill="url(#g)"/></mask><mask id="b"/><g mask="url(#b)"/>',
    ],
)
def test_an_ordinary_svg_is_taken(inside):
    assert check_logo(b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>\n' + an_svg(inside))


@pytest.mark.parametrize(
    "inside",
    [
        "<script>alert(1)</script>",
        "<SCRIPT/>",
        '<path onload="x()"/>',
        '<path ONLOAD="x()"/>',
        "<foreignObject/>",
        '<image href="logo.png"/>',
        '<image href="data:image/png;base64,AA"/>',
        '<use href="#a"/>',
        '<a href="https://evil.example"/>',
        "<animate/>",
        "<set/>",
        "<filter/>",
        "<svg/>",
        '<linearGradient href="https://evil.example/#a"/>',
        '<linearGradient xlink:href="javascript:x"/>',
        '<linearGradient xlink:href="javascript&#58;x"/>',
        '<path xml:base="https://evil.example"/>',
        '<path fill="url(https://evil.example)"/>',
        '<path fill="URL (//evil.example)"/>',
        '<path fill="url(#a) url(evil)"/>',
        '<path style="background:url(evil.png)"/>',
        "<style>@import 'evil.css';</style>",
        "<style>a{fill:u\\72l(evil)}</style>",
        "<style>a{fill:u<!-- -->rl(evil)}</style>",
        "<style><![CDATA[a{fill:url(evil)}]]></style>",
        "<style>a{b:image-set('evil.png' 1x)}</style>",
        "<style>@font-face{src:url(evil.woff)}</style>",
        '<h:div xmlns:h="http://www.w3.org/1999/xhtml"/>',
        '<?xml-stylesheet href="evil.css"?>',
        "<style>@keyframes a{from{opacity:0}}</style>",
        '<mask id="a" mask="url(#b)"/>',
        '<mask id="a"><g><path clip-path="url(#b)"/></g></mask>',
        '<clipPath id="a"><path style="MASK: url(#b)"/></clipPath>',
        '<mask id="a"><path class="b"/></mask><mask id="b"/><style>.b{mask:url(#b)}</style>',
        "<g>" * 100 + "</g>" * 100,
        "<metadata/>",
        "&undefined;",
        "<path>",
    ],
)
def test_what_runs_or_is_fetched_is_refused(inside):
    with pytest.raises(ProfileError, match=r"holds|broken SVG"):
        check_logo(an_svg(inside))


@pytest.mark.parametrize(
    "content",
    [
        b'<!DOCTYPE svg [<!ENTITY a "b">]>' + an_svg("&a;"),
        b'<!DOCTYPE svg SYSTEM "https://evil.example/x.dtd">' + an_svg(),
        b'<?xml version="1.0" encoding="UTF-16"?>' + an_svg(),
        b'<?xml version="1.0" encoding="UTF-7"?>' + an_svg(),
        b"<html><body/></html>",
        b"<svg/>",  # of no namespace
        b"<path xmlns='http://www.w3.org/2000/svg'/>",
        b"<",
        an_svg() + an_svg(),
        an_svg('<path d="\xff"/>'.encode("latin-1").decode("latin-1")).replace(
            b"\xc3\xbf", b"\xff"
        ),
    ],
)
def test_a_document_that_is_no_plain_svg_is_refused(content):
    with pytest.raises(ProfileError, match=r"holds|broken SVG"):
        check_logo(content)
