"""Notices in: sources, fetching, parsing, normalising, deciding, ingesting."""
