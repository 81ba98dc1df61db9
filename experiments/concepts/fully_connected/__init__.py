"""The fully connected network and its four problems: overfitting, cost, gradients, blindness."""
