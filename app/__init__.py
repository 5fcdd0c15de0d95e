"""Redline: human activity inside ecological red lines, from satellite image to closed case."""

__version__ = "0.1.0"
