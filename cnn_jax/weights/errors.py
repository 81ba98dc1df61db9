"""The exception of this package."""


class WeightsError(ValueError):
    """A weights file cannot be read, or does not fit the model; the message says which and why."""
