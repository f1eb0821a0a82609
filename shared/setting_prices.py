"""How the prices of SMS are written in the settings."""

from __future__ import annotations

from shared.setting_values import countries, number


def prices(raw: str) -> tuple[tuple[str, float], ...]:
    """`REGION=price` between commas; `*` is every other region."""
    found: dict[str, float] = {}
    for part in filter(None, (entry.strip() for entry in raw.split(","))):
        region, _, price = part.partition("=")
        region = region.strip().upper()
        if region != "*":
            countries(region)
        if region in found:
            raise ValueError(f"names {region} twice")
        try:
            found[region] = number(price)
        except ValueError:
            raise ValueError("must look like CH=0.07,DE=0.08,*=0.10") from None
    return tuple(found.items())
