"""What is expected, written down before it was measured."""

from experiments.concepts.frame.lesson import Claim, Text

CLAIMS = [
    Claim(
        "none",
        Text(
            "Without subsampling, a shift does not change the answer: convolution is equivariant, "
            "and the mean over all positions is invariant",
            "不做下采样时平移不改变答案：卷积是等变的，全局平均是不变的",
        ),
        "100 %",
    ),
    Claim(
        "four",
        Text(
            "A shift by 4, the product of the strides, never changes it",
            "平移 4（两个步幅之积）从不改变答案",
        ),
        "100 %",
    ),
    Claim(
        "strided",
        Text(
            "A shift by 1 changes it if every second value is dropped",
            "每两个值丢弃一个时，平移 1 会改变答案",
        ),
        "< 100 %",
    ),
    Claim(
        "blurred",
        Text("Blurring before dropping values helps", "丢弃之前先模糊会有帮助"),
        Text("> stride 2", "> 步幅 2"),
    ),
    Claim(
        "max",
        Text("Max pooling withstands it better than strides", "最大池化比步幅更经得起平移"),
        Text("> stride 2", "> 步幅 2"),
    ),
    Claim(
        "cheaper",
        Text("Subsampling by strides is several times cheaper", "用步幅做下采样计算量小好几倍"),
        "> 4 x",
    ),
    Claim(
        "alike",
        Text(
            "Trained to the same loss, all five are right equally often, within 3 points",
            "训练到同样的损失后，五种方式的准确率相差不到 3 个百分点",
        ),
        "< 3",
    ),
    Claim(
        "aliasing",
        Text(
            "In time: of a sine of 0.4 cycles, every second sample looks like one of 0.2",
            "在时间上：0.4 周期的正弦波隔一取一，看起来像 0.2 周期",
        ),
        "0.20 ± 0.01",
    ),
    Claim(
        "quieter",
        Text(
            "A mean of two before makes that false sine a third as high",
            "先两两平均，这个假的正弦波只剩三分之一高",
        ),
        "0.31 ± 0.02",
    ),
    Claim(
        "time_mean",
        Text(
            "A mean or a maximum over all of time does not notice a shift of the curve",
            "对全部时间取平均或取最大，察觉不到曲线的平移",
        ),
        "100 %",
    ),
    Claim(
        "time_flat",
        Text(
            "A layer that is connected to all positions notices a shift of the curve",
            "与全部位置相连的层会察觉曲线的平移",
        ),
        Text("< 90 % at shift 4", "平移 4 时 < 90 %"),
    ),
    Claim(
        "time_max",
        Text(
            "The largest over time is right more often than the mean, which thins out a shape that "
            "occurs once",
            "取最大比取平均更准：只出现一次的形状会被平均稀释",
        ),
        Text("> mean", "> 平均"),
    ),
]
