"""The editors' desk: states, corrections, withdrawals, who may do what, and the audit."""
