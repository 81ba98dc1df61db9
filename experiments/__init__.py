"""Experiments: the entry points, and the only package with flags."""

import os
import sys

# `python -m experiments.classification` imports this package before the module. JAX takes seconds
# to import, and a signal meanwhile should end neither in silence nor in a traceback.
if sys.argv[:1] == ["-m"]:
    from experiments import stopping

    stopping.install()

    # Figures go to files: a notebook's backend does not apply to a command, and one that Matplotlib
    # does not know would end its import.
    os.environ["MPLBACKEND"] = "agg"
    # XLA's own notes, such as that it compiles slowly: JAX sets a level when it is imported
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if any(name.startswith("JAX_") for name in os.environ):
        try:
            import jax  # noqa: F401
        except ValueError as error:  # JAX cannot read one of its variables
            sys.exit(f"error: {error}: unset or correct that environment variable.")
