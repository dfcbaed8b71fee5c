"""The catalogue of notices: what a notice is, how it is stored, tagged and found."""
