"""Several devices: the batch stays where it is, and kernel gradients are summed once.

Eight virtual CPU devices must be asked for before JAX starts, so each test is a process.
"""

import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import re
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
jax.config.update('jax_num_cpu_devices', 8)
import cnn_jax.cpu
from cnn_jax.cpu import choose, winograd
choose.LEAST = 0  # Winograd for small layers too,
winograd.PART = 1  # and its kernel gradients in parts where a device is alone
choose.TOUCH = 0
cnn_jax.cpu.enable()
random = np.random.default_rng(0)
def array(*shape): return random.standard_normal(shape).astype(np.float32)
def conv(x, w, stride=1, groups=1):
    return lax.conv_general_dilated(x, w, (stride, stride), 'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'), feature_group_count=groups)
def pool(x):
    return lax.reduce_window(x, -np.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), 'SAME')
shapes = dict(three=(3, 3, 16, 16), one=(1, 1, 16, 32), grouped=(3, 3, 4, 32), deep=(3, 3, 1, 32),
              strided=(3, 3, 32, 8))
params = {k: array(*s) / np.sqrt(np.prod(s[:3])) for k, s in shapes.items()}
x, y = array(16, 12, 12, 16), array(16, 8)
def loss(params, x, y):
    x = jnp.tanh(conv(x, params['three']))
    x = jnp.tanh(conv(x, params['one']))
    x = x + conv(x, params['grouped'], groups=8)
    x = x + conv(x, params['deep'], groups=32)
    x = pool(conv(x, params['strided'], stride=2))
    return ((x.mean((1, 2)) - y) ** 2).mean()
with cnn_jax.cpu.enabled(False):
    want = jax.jit(jax.grad(loss))(params, x, y)
def check(got):
    for k in want:
        bound = 1e-4 * abs(want[k]).max()  # 8 partial sums, Winograd: measured 2e-6
        assert abs(got[k] - want[k]).max() < bound, (k, abs(got[k] - want[k]).max(), bound)
"""

SHARDED = """
mesh = Mesh(np.array(jax.devices()), ('data',))
batch, everywhere = NamedSharding(mesh, P('data')), NamedSharding(mesh, P())
step = jax.jit(jax.value_and_grad(loss), in_shardings=(everywhere, batch, batch),
               out_shardings=everywhere)
text = step.lower(params, x, y).compile().as_text()
for word in ('all-gather', 'all-to-all', 'collective-permute'):
    assert word not in text, word
assert 'all-reduce' in text
assert ' while(' not in text  # a loop over examples would fetch each from its device
check(step(params, x, y)[1])
# arrays that lie on the devices already: their gradients name a sharding
placed = (jax.device_put(params, everywhere), *jax.device_put((x, y), batch))
left = lambda *args: step.lower(*args).as_text().count('stablehlo.convolution')
assert left(*placed) == left(params, x, y)
text = step.lower(*placed).compile().as_text()
for word in ('all-gather', 'all-to-all', 'collective-permute'):
    assert word not in text, word
check(step(*placed)[1])
forward = jax.jit(lambda p, x: conv(x, p['three']), in_shardings=(everywhere, batch))
out = forward(params, x)
assert out.sharding.is_equivalent_to(batch, 4), out.sharding
text = forward.lower(params, x).compile().as_text()
assert 'all-' not in text
"""

PMAP = """
split = lambda a: a.reshape(8, -1, *a.shape[1:])
grad = jax.pmap(lambda p, x, y: lax.pmean(jax.grad(loss)(p, x, y), 'data'), axis_name='data',
                in_axes=(None, 0, 0))
got = grad(params, split(x), split(y))
check(jax.tree.map(lambda g: np.asarray(g[0]), got))
"""

SHARD_MAP = """
mesh = Mesh(np.array(jax.devices()), ('data',))
local = jax.shard_map(lambda p, x, y: lax.pmean(jax.grad(loss)(p, x, y), 'data'), mesh=mesh,
                      in_specs=(P(), P('data'), P('data')), out_specs=P(), check_vma=False)
check(jax.jit(local)(params, x, y))
"""


@pytest.mark.parametrize(
    "program",
    [SHARDED, *(pytest.param(p, marks=pytest.mark.slow) for p in (PMAP, SHARD_MAP))],
    ids=["jit", "pmap", "shard_map"],
)
def test_eight_devices(program):
    code = textwrap.dedent(PREAMBLE) + program
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
