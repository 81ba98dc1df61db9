"""Experiments: the entry points, and the only place with flags."""

import os
import sys

# `python -m experiments.classification` imports this package before the module: JAX takes seconds
# to import, and a signal then should not end in silence or in a traceback.
if sys.argv[:1] == ["-m"]:
    from experiments import stopping

    stopping.install()

    # Figures go to files: what a notebook has set for its cells, or a name that Matplotlib does not
    # have, which would end its import, is nothing to a command.
    os.environ["MPLBACKEND"] = "agg"
    if any(name.startswith("JAX_") for name in os.environ):
        try:
            import jax  # noqa: F401
        except ValueError as error:  # it cannot read one of them
            sys.exit(f"error: {error}: unset or correct that environment variable.")
