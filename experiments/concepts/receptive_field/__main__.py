"""The section `receptive_field` as a command."""

from experiments.concepts.frame import command

if __name__ == "__main__":
    command.launch("receptive_field")
