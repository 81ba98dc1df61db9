"""Experiments: the entry points, and the only place with flags."""

import sys

# `python -m experiments.classification` imports this package before the module: JAX takes seconds
# to import, and a signal then should not end in silence or in a traceback.
if sys.argv[:1] == ["-m"]:
    from experiments import stopping

    stopping.install()
