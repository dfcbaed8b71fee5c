"""The kernel every room stands on: errors, time, ids, database, the guarded HTTP client."""
