"""Shanghai: real districts, streets, zones and agencies; data only."""
