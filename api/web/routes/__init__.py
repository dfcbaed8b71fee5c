"""The routes, one module for each kind of visitor; every route declares who may call it."""
