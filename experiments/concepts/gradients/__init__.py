"""Vanishing and exploding gradients: what one layer does, many layers do to a power."""
