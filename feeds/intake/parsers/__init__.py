"""Parsers: bytes of one format in, raw entries out. Pure; one format a module."""
