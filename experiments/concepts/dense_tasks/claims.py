"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim("same", Text(
        "The mean of the classes of all places is the class of the image: the same weights "
        "(largest difference, as a share of the largest output)",
        "所有位置上的类别取平均，就是整幅图像的类别：用的是同样的权重（最大差异占最大输出的比例）",
    ), "< 0.0001"),
    Claim("slid", Text(
        "A network that learnt nothing but classes of images names the pixels of digits in larger "
        "scenes (share that is right)",
        "只学过图像类别的网络，能说出更大场景中数字像素的类别（判断正确的比例）",
    ), "> 50 %"),
    Claim("taught", Text(
        "One that was taught pixels names more of them", "学过像素类别的网络判断得更准",
    ), Text("> classes only", "> 只学过类别")),
    Claim("skip", Text(
        "Fine maps joined to the coarse one draw the borders: the mean IoU is higher",
        "把精细的特征图接到粗糙的特征图上，能画准边界：平均交并比更高",
    ), Text("> without", "> 不接时")),
    Claim("found", Text(
        "Boxes from the same trunk find digits: IoU of at least 0.5, and the right class",
        "同一个主干加上框的输出头就能找到数字：交并比不低于 0.5，且类别正确",
    ), "> 80 %"),
    Claim("single", Text(
        "Several cells see the same digit: without suppression it gets more than two boxes, with "
        "it about one (boxes for each digit)",
        "好几个格子看到同一个数字：不抑制时每个数字有两个以上的框，抑制之后大约一个（每个数字的框"
        "数）",
    ), Text("> 2, then 0.9 … 1.1", "> 2，然后 0.9 … 1.1")),
]  # fmt: skip
