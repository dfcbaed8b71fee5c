"""Channels: one adapter a module, all behind the port in ``delivery.types``."""
