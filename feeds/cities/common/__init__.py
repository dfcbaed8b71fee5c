"""What every city shares: themes, roles, life events, kinds of notice, rules and the calendar; data only."""
