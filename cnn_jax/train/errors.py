"""What is wrong with a checkpoint. Apart from Orbax, whose import takes a fifth of a second."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says which, why and what to do."""


class OtherNetworkError(CheckpointError):
    """A checkpoint is intact, but belongs to another network or optimiser."""
