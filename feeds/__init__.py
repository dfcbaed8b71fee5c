"""公告: what the city publishes. The ground floor: imports nothing else of ours."""
