"""Pure decisions: no I/O, no clock, no randomness (import-linter holds this)."""
