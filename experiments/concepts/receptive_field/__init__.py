"""The receptive field: what a unit can see, what it uses, and what a task needs."""
