"""Change detectors: arrays in, findings out. No database, no web, no files."""
