"""rawstream: one engine session per channel, fanned out to many players."""

__version__ = "0.1.0"
