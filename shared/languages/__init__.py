"""Every sentence a person reads: one TOML file per language, chosen once per reset."""
