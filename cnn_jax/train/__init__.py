"""Training: the state, one step body, the layouts it runs under, and the loop around it.

Nothing here knows a model or a task by name; both are passed in through the contracts of
`cnn_jax.typing`.
"""
