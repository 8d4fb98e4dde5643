"""The one error this package raises on purpose: a sentence for the person at the terminal."""


class Failure(Exception):
    """What went wrong and what to do about it; the command line prints it without a traceback."""
