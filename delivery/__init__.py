"""送达: how what was chosen reaches people."""
