"""The exception of `cnn_jax.data`."""


class DataError(ValueError):
    """The data are missing, unreadable or not what was requested; the message is one line.

    It says what came, what was wanted and what to do, so a program may print it unchanged.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
