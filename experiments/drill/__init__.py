"""The drill: whether runs survive faults at random moments; see `experiments.drill.__main__`."""
