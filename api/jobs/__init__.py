"""Use cases: functions that join the parts; each can be run twice, killed, and run again."""
