"""The images of the README, and the command that makes them from runs of ours."""
