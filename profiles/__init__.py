"""居民: who wants what, and what was chosen for them."""
