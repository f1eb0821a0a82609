"""The side that sends; it takes no calls."""
