"""Redis: every record, every script, every key name and lifetime."""
