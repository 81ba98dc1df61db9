"""The section `output_size` as a command."""

from experiments.concepts.frame import command

if __name__ == "__main__":
    command.launch("output_size")
