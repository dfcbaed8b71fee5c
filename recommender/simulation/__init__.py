"""A city that does not exist but lives: what it publishes, who lives in it, what they open."""
