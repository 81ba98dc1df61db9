"""The one exception of `cnn_jax.data`."""


class DataError(ValueError):
    """The data is not there, not readable or not what was asked for; the message is one line.

    It says what came, what was wanted and what to do, so a program may print it as it is.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
