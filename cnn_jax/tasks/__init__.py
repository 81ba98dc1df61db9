"""Tasks: what to minimise and what to report, one file for each."""
