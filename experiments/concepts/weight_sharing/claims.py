"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text
from experiments.concepts.weight_sharing.text import NAMES, ORDERS

# Greydanus 2020, arXiv:2011.14439, table 1: accuracy in percent, in order and shuffled.
PUBLISHED = {"linear": (32, 32), "dense": (68, 68), "conv": (94, 56), "recurrent": (91, 57)}
# The table has one run of each; its authors' notebook prints 92.3 for the convolution and 64.6 for
# the fully connected network (github.com/greydanus/mnist1d, notebooks/quickstart.ipynb).
TOLERANCE = 3  # points, for other initial values and orders of the examples

CLAIMS = [
    *(
        Claim(
            f"{name}_{order}",
            Text(
                f"{NAMES[name].en}, {ORDERS[order].en}: as published",
                f"{NAMES[name].zh}，{ORDERS[order].zh}：与论文一致",
            ),
            f"{figures[i]} ± {TOLERANCE} %",
        )
        for name, figures in PUBLISHED.items()
        for i, order in enumerate(ORDERS)
    ),
    Claim(
        "local_helps",
        Text("Looking at neighbours only is an advantage", "只看邻近位置就有优势"),
        "> 0",
    ),
    Claim(
        "sharing_helps",
        Text("Sharing weights over all positions adds to it", "在所有位置共享权重进一步提高"),
        "> 0",
    ),
    Claim(
        "shuffled_hurts",
        Text(
            "Without neighbours that belong together, the convolutional network is worse than the "
            "fully connected one",
            "邻近关系被打乱后，卷积网络反而不如全连接",
        ),
        "> 0",
    ),
]
