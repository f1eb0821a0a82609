"""Every sentence a person reads: one TOML file per language, chosen once per reset."""

from shared.languages.book import Languages
from shared.languages.moments import spell_moment, spell_time

__all__ = ["Languages", "spell_moment", "spell_time"]
