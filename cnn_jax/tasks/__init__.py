"""Tasks: their losses and metrics, one file per task."""
