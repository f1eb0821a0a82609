"""Redis: every record, script, key name and lifetime."""
