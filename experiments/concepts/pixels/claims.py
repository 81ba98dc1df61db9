"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim(
        "neighbours",
        Text(
            "Pixels side by side are alike, more so than pixels four apart",
            "相邻的像素彼此相像，比相距四格的像素更像",
        ),
        Text("> 0.5, and less by 0.2 at distance 4", "> 0.5，相距 4 时小 0.2 以上"),
    ),
    Claim(
        "shuffled",
        Text(
            "Shuffle the pixels of all images in the same way: no number is lost, but "
            "neighbours are no longer alike",
            "把所有图像的像素按同一种方式打乱：一个数也没丢，但相邻的数不再相像",
        ),
        Text("less than half", "不到一半"),
    ),
    Claim(
        "nearest",
        Text(
            "The nearest training image has the right class, if all digits are centred",
            "数字都居中时，最近的训练图像类别正确",
        ),
        "> 95 %",
    ),
    Claim(
        "farther",
        Text(
            "Moved by one pixel, most digits are farther from themselves than from the nearest "
            "digit of another class",
            "平移一个像素后，多数数字离自己比离最近的异类数字还远",
        ),
        "> 50 %",
    ),
    Claim(
        "falls",
        Text(
            "Moved by two pixels, the nearest image is right less than half as often",
            "平移两个像素后，最近邻的正确率不到原来的一半",
        ),
        Text("less than half", "不到一半"),
    ),
]
