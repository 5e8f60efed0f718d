"""The version of the package; in a file of its own, for what the package exports imports it."""

__version__ = "0.1.0"
