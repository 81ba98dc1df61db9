"""Experiments: the entry points, and the only package with flags."""

import sys

# `python -m experiments.classification` imports this package before the module. JAX takes seconds
# to import, and a signal meanwhile should end neither in silence nor in a traceback.
if sys.argv[:1] == ["-m"]:
    from experiments import stopping

    stopping.install()
