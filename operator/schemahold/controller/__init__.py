"""The kopf app: watch events put keys on one queue; workers look, decide and write."""
