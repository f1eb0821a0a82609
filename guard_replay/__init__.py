"""Replay a day of SMS with an attack, judged by the very script that judges them in service."""
