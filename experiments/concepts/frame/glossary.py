"""The terms of the lesson, each defined once. A text links to one by [[its name]]."""

from typing import NamedTuple

from experiments.concepts.frame.lesson import Text


class Term(NamedTuple):
    name: Text
    meaning: Text


def _term(en: str, zh: str, meaning: str, chinese: str) -> Term:
    return Term(Text(en, zh), Text(meaning, chinese))


_ALL = (
    _term(
        "pixel", "像素",
        "One point of an image: one number for its brightness, or three for red, green and blue.",
        "图像中的一个点：用一个数表示亮度，或用三个数表示红、绿、蓝。",
    ),
    _term(
        "channel", "通道",
        "One number at every position, for example the red of an image. A layer makes new "
        "channels, one by each of its [[kernel|kernels]].",
        "每个位置上的一个数，例如图像的红色分量。卷积层用每个[[kernel|卷积核]]产生一个新的通道。",
    ),
    _term(
        "weight", "权重",
        "A number by which an input is multiplied. Training changes the weights, and nothing else.",
        "与输入相乘的数。训练改变的就是这些数，也只改变这些数。",
    ),
    _term(
        "bias", "偏置",
        "A number that is added after the products, one for each output channel.",
        "求和之后再加上的一个数，每个输出通道一个。",
    ),
    _term(
        "parameter", "参数",
        "A number that is learnt: a [[weight]] or a [[bias]].",
        "通过训练学到的数：[[weight|权重]]或[[bias|偏置]]。",
    ),
    _term(
        "unit", "单元",
        "One number that a layer computes: a weighted sum of its inputs, then an [[activation]]. "
        "Also called a neuron.",
        "层所算出的一个数：先对输入加权求和，再经过[[activation|激活函数]]。也叫神经元。",
    ),
    _term(
        "layer", "层",
        "Many [[unit|units]] side by side, which read the outputs of the layer before.",
        "许多并列的[[unit|单元]]，它们读取前一层的输出。",
    ),
    _term(
        "kernel", "卷积核",
        "The small set of [[weight|weights]] that a convolution slides over its input; also called "
        "a filter.",
        "卷积在输入上滑动的那一小组[[weight|权重]]，也叫滤波器。",
    ),
    _term(
        "window", "窗口",
        "The part of the input that a [[kernel]] covers at one place.",
        "[[kernel|卷积核]]在某个位置上所覆盖的那部分输入。",
    ),
    _term(
        "feature map", "特征图",
        "The outputs of one [[kernel]] at all positions, itself an image.",
        "一个[[kernel|卷积核]]在所有位置上的输出，它本身也是一幅图像。",
    ),
    _term(
        "padding", "填充",
        "Values, usually zeros, put around the input so that a [[window]] can also stand at its "
        "border.",
        "在输入四周补上的数（通常是零），使[[window|窗口]]也能放在边缘处。",
    ),
    _term(
        "stride", "步幅",
        "How many positions the [[window]] moves from one output to the next.",
        "从一个输出到下一个输出，[[window|窗口]]移动的格数。",
    ),
    _term(
        "pooling", "池化",
        "One number in place of each [[window]]: its largest or its mean. It has no weights.",
        "用一个数代替每个[[window|窗口]]里的数：取最大值或平均值。它没有权重。",
    ),
    _term(
        "subsampling", "下采样",
        "Making a map smaller: by [[pooling]] or by a [[stride]] above 1.",
        "把特征图变小：用[[pooling|池化]]，或用大于 1 的[[stride|步幅]]。",
    ),
    _term(
        "receptive field", "感受野",
        "All positions of the input that can change a given output.",
        "能够影响某个输出的全部输入位置。",
    ),
    _term(
        "activation", "激活函数",
        "The function that each number passes through after the sum, such as ReLU, max(0, x).",
        "求和之后每个数要经过的函数，例如 ReLU，即 max(0, x)。",
    ),
    _term(
        "fully connected", "全连接",
        "A [[layer]] with a weight for every pair of an input and an output.",
        "每一对输入和输出之间都有一个权重的[[layer|层]]。",
    ),
    _term(
        "convolution", "卷积",
        "A [[layer]] in which every unit sees only a [[window]], and all positions use the same "
        "[[kernel]].",
        "每个单元只看一个[[window|窗口]]，且所有位置共用同一个[[kernel|卷积核]]的[[layer|层]]。",
    ),
    _term(
        "loss", "损失",
        "How wrong the network is on examples, as one number: here the mean of -log of the "
        "probability that it gives the right class. Guessing among ten gives log 10 = 2.30.",
        "用一个数表示网络错得多厉害：这里是正确类别所得概率的负对数的平均。"
        "十选一乱猜时为 log 10 = 2.30。",
    ),
    _term(
        "gradient", "梯度",
        "The slope of the [[loss]] for each [[parameter]]: how it changes if that one grows a "
        "little.",
        "[[loss|损失]]对每个[[parameter|参数]]的斜率：该参数增大一点点时损失如何变化。",
    ),
    _term(
        "learning rate", "学习率",
        "How far a step goes along the [[gradient]].",
        "每次更新沿[[gradient|梯度]]走多远。",
    ),
    _term(
        "batch", "批量",
        "The examples of which one step computes the mean [[gradient]].",
        "一次更新所用的一组样本，对它们的[[gradient|梯度]]求平均。",
    ),
    _term(
        "step", "更新",
        "One change of all [[parameter|parameters]], after one [[batch]].",
        "看过一个[[batch|批量]]之后，对全部[[parameter|参数]]的一次修改。",
    ),
    _term(
        "epoch", "轮次",
        "As many steps as it takes to see every training example once.",
        "把每个训练样本都看过一遍所需的更新。",
    ),
    _term(
        "seed", "随机种子",
        "The number from which the initial weights and the order of the examples are drawn. "
        "Another seed gives another network, so every measurement here has several.",
        "初始权重和样本顺序都由它生成。换一个种子就得到另一个网络，所以这里的每项测量都用了好几"
        "个。",
    ),
    _term(
        "accuracy", "准确率",
        "The share of examples whose class is named right.",
        "类别判断正确的样本所占的比例。",
    ),
    _term(
        "training set", "训练集",
        "The examples that the weights are fitted to.",
        "用来拟合权重的样本。",
    ),
    _term(
        "test set", "测试集",
        "Examples that training never sees: they tell what was learnt and not only remembered.",
        "训练时从未见过的样本：它们能说明网络是学会了，还是只是记住了。",
    ),
    _term(
        "overfitting", "过拟合",
        "Being better on the [[training set]] than on the [[test set]]: examples were memorised.",
        "在[[training set|训练集]]上比在[[test set|测试集]]上好：样本被死记硬背了下来。",
    ),
    _term(
        "equivariance", "等变性",
        "If the input moves, the output moves along.",
        "输入平移，输出也跟着平移。",
    ),
    _term(
        "invariance", "不变性",
        "If the input moves, the output stays the same.",
        "输入平移，输出保持不变。",
    ),
    _term(
        "multiply-add", "乘加",
        "One product and its addition to a sum: the unit in which arithmetic is counted here.",
        "一次乘法并加到和里：这里用它来计算运算量。",
    ),
    _term(
        "batch norm", "批归一化",
        "Gives every [[channel]] mean 0 and deviation 1 over the [[batch]], then a learnt scale "
        "and shift.",
        "让每个[[channel|通道]]在一个[[batch|批量]]内均值为 0、标准差为 1，"
        "再乘以学到的系数并加上学到的偏移。",
    ),
    _term(
        "residual connection", "残差连接",
        "A path that adds a layer's input to its output: x + f(x). Also called a shortcut.",
        "把层的输入加到它的输出上的一条路：x + f(x)。也叫捷径。",
    ),
    _term(
        "segmentation", "语义分割",
        "A class for every [[pixel]].",
        "为每个[[pixel|像素]]判断类别。",
    ),
    _term(
        "detection", "目标检测",
        "A box and a class for every object.",
        "为每个物体给出一个框和一个类别。",
    ),
)  # fmt: skip

TERMS = {term.name.en: term for term in _ALL}
