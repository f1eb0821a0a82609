"""Guard against messages that only cost money; docs/sms-guard.md has the formulae."""
