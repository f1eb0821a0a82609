"""Draw the curve as SVG, by a few lines of text: a plotting library would be more than the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping

from guard_replay.replay import Outcome

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 50, 60
MAX_SENT = 1000
PROMISED_SENT, PROMISED_SHARE = 50, 0.02


def draw(found: Mapping[int, Outcome], *, recommended: int) -> str:
    """Return the picture: messages of the attack that went out against people refused."""
    widest = max([PROMISED_SHARE * 1.5, *(each.hour_share * 1.1 for each in found.values())])

    def x(share: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * share / widest

    def y(sent: float) -> float:
        part = math.log10(max(1, sent)) / math.log10(MAX_SENT)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(1, part)

    points = [(x(o.hour_share), y(o.attack_sent), n) for n, o in sorted(found.items())]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        (
            f'<text x="{LEFT}" y="22" font-size="14">Attack of 5,000 numbers: what went out, and '
            "people refused in that hour</text>"
        ),
        (
            f'<text x="{LEFT}" y="40" fill="#555">Beside each point: KEYTURN_SMS_GUARD_NUMBERS. '
            "Shaded: the promise.</text>"
        ),
        (
            f'<rect x="{x(0):.1f}" y="{y(PROMISED_SENT):.1f}" '
            f'width="{x(PROMISED_SHARE) - x(0):.1f}" '
            f'height="{y(1) - y(PROMISED_SENT):.1f}" fill="#e3f2e3"/>'
        ),
        *(
            f'<path d="M{LEFT} {y(sent):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(sent) + 4:.1f}" text-anchor="end">{sent}</text>'
            for sent in (1, 10, 100, MAX_SENT)
        ),
        *(
            f'<text x="{x(widest * step / 5):.1f}" y="{HEIGHT - BOTTOM + 18}" '
            f'text-anchor="middle">{widest * step / 5:.1%}</text>'
            for step in range(6)
        ),
        (
            f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">people refused</text>'
            f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" '
            f'transform="rotate(-90 18 {HEIGHT / 2})">messages of the attack sent</text>'
        ),
        f'<polyline points="{path}" fill="none" stroke="#36c"/>',
        *(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" '
            f'fill="{"#c33" if numbers == recommended else "#36c"}"/>'
            f'<text x="{px + 8:.1f}" y="{py - 6:.1f}">{numbers}</text>'
            for px, py, numbers in points
        ),
    ]
    return "\n".join([*lines, "</svg>", ""])
