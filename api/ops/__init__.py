"""What operators use: the command line, the doctor, the demo city."""
