"""The section `activations` as a command."""

from experiments.concepts.frame import command

if __name__ == "__main__":
    command.launch("activations")
