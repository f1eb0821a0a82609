"""The fault run: real processes are killed, frozen and starved, and a ledger outside judges."""
