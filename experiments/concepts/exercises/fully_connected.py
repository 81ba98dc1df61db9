"""Exercise 2: the weights of a fully connected and of a convolutional layer."""

from experiments.concepts.exercises.exercise import Exercise, Function, mistake
from experiments.concepts.frame.lesson import Text

PARAMETERS = Function(
    signature="parameters(height, width, channels, units, kernel)",
    doc=Text(
        "Numbers to learn, weights and biases, of two layers on an image [height, width, "
        "channels]:\n"
        "fully connected with so many units; convolutional with as many output channels, whose\n"
        "windows are kernel x kernel. Return both.",
        "两种层在一张 [height, width, channels] 的图片上各有多少个要学的数（权重和偏置）：\n"
        "有 units 个单元的全连接层；有 units 个输出通道、窗口为 kernel x kernel 的卷积层。\n"
        "依次返回这两个数。",
    ),
    body="""
        fully_connected = (height * width * channels + 1) * units
        convolutional = (kernel * kernel * channels + 1) * units
        return fully_connected, convolutional
    """,
    cases=lambda: [(4, 4, 1, 2, 3), (8, 6, 3, 5, 3), (32, 32, 3, 64, 5)],
    returns=("fully_connected", "convolutional"),
    mistakes=(
        mistake(
            "The biases are missing: each unit, and each output channel, adds one number of its "
            "own.",
            "少了偏置：每个单元、每个输出通道都还要加上一个自己的数。",
            ("channels + 1", "channels"),
        ),
        mistake(
            "There is one bias for the whole layer: each unit, and each output channel, has its "
            "own.",
            "整层只算了一个偏置：每个单元、每个输出通道都有自己的偏置。",
            ("channels + 1) * units", "channels) * units + 1"),
        ),
        mistake(
            "A window of the convolution reaches through all input channels: times channels.",
            "卷积的窗口要穿过所有输入通道：还要乘以 channels。",
            ("kernel * kernel * channels", "kernel * kernel"),
        ),
        mistake(
            "A window is kernel x kernel, a square; counted is only one side of it.",
            "窗口是 kernel x kernel 的正方形，这里只算了一条边。",
            ("kernel * kernel", "kernel"),
        ),
        mistake(
            "The weights of the convolution are counted anew at each position: they are shared, so "
            "that the size of the image does not matter.",
            "每个位置的卷积权重都重复算了一遍：权重是共享的，所以与图片大小无关。",
            (
                "(kernel * kernel * channels + 1) * units",
                "(kernel * kernel * channels + 1) * units * height * width",
            ),
        ),
        mistake(
            "The two numbers are in the wrong order: first fully connected, then convolutional.",
            "两个数的顺序反了：先全连接层，后卷积层。",
            ("return fully_connected, convolutional", "return convolutional, fully_connected"),
        ),
        mistake(
            "The fully connected layer sees every channel of each pixel: times channels.",
            "全连接层能看到每个像素的所有通道：还要乘以 channels。",
            ("height * width * channels", "height * width"),
        ),
    ),
)


EXERCISE = Exercise(
    number=2,
    section="fully_connected",
    title=Text("Two layers, counted", "数一数两种层的参数"),
    task=Text(
        "A fully connected unit has a weight for every number of the image; a channel of a "
        "convolution has a weight for every number of its window, the same weights wherever the "
        "window lies. Each unit, and each channel, also has a bias. How much is there to learn?",
        "全连接层的一个单元，对图片里的每个数都有一个权重；卷积的一个通道，"
        "只对窗口里的每个数有一个权重，"
        "窗口移到哪里都用同样的权重。每个单元、每个通道另有一个偏置。要学的数一共有多少？",
    ),
    functions=(PARAMETERS,),
    hints=(
        Text(
            "Count for one unit first: its weights, and one bias. Then take all units.",
            "先数一个单元：它的权重，再加一个偏置。然后乘以单元数。",
        ),
        Text(
            "One output channel: kernel * kernel * channels weights and one bias, at any size of "
            "the image.",
            "一个输出通道：kernel * kernel * channels 个权重和一个偏置，与图片大小无关。",
        ),
    ),
)
