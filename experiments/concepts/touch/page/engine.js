// The arithmetic of the page: layers that are data, run on plain arrays, rows then columns then
// channels. Sums are made in double precision and kept in single, as close to JAX as the order of
// the summands allows.

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

const DIGITS85 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";

// Five digits of base 85 are four bytes, the highest first.
function bytesOf85(text) {
  const worth = new Uint8Array(128), bytes = new Uint8Array(text.length / 5 * 4);
  for (let i = 0; i < 85; i++) worth[DIGITS85.charCodeAt(i)] = i;
  for (let i = 0, at = 0; i < text.length; i += 5) {
    let v = 0;
    for (let k = 0; k < 5; k++) v = v * 85 + worth[text.charCodeAt(i + k)];
    for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = (v >>> shift) & 255;
  }
  return bytes;
}

function halfToNumber(h) {
  const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = h & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function numbersOf(text, kind, decode = bytesOf) {
  const bytes = decode(text), view = new DataView(bytes.buffer);
  const width = kind === "f2" ? 2 : 4, numbers = new Float32Array(bytes.length / width);
  for (let i = 0; i < numbers.length; i++) {
    numbers[i] = width === 2 ? halfToNumber(view.getUint16(2 * i, true))
      : view.getFloat32(4 * i, true);
  }
  return numbers;
}

const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

// The weights of one moment of the training: for each layer its arrays by name.
function weightsOf(net, snapshot) {
  const numbers = numbersOf(snapshot.weights, snapshot.kind, bytesOf85);
  let at = 0;
  return net.layers.map((layer) => {
    const own = {};
    for (const [name, shape] of layer.arrays) {
      own[name] = numbers.subarray(at, at + sizeOf(shape));
      at += sizeOf(shape);
    }
    return own;
  });
}

// Taps of a window along one axis that lie inside: calls f(tap, place).
function taps(out, size, window, stride, dilation, before, f) {
  for (let k = 0; k < window; k++) {
    const place = out * stride - before + k * dilation;
    if (place >= 0 && place < size) f(k, place);
  }
}

function erf(x) { // Abramowitz and Stegun 7.1.5, the series; and 7.1.14 where it converges slowly
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 3) {
    let term = a, sum = a;
    for (let n = 1; n < 60; n++) { term *= -a * a / n; sum += term / (2 * n + 1); }
    return Math.sign(x) * sum * 2 / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

const ACTS = {
  logistic: (x) => 1 / (1 + Math.exp(-x)), tanh: Math.tanh, exp: Math.exp, abs: Math.abs,
  neg: (x) => -x, erf, erfc: (x) => 1 - erf(x),
};

const OPS = {
  conv(layer, [x], [from], w, out) {
    const [H, W, C] = from.shape, [oh, ow, K] = layer.shape;
    const [kh, kw, within] = layer.arrays[0][1], groups = layer.groups, per = K / groups;
    const [sy, sx] = layer.stride, [dy, dx] = layer.dilation;
    const top = layer.padding[0][0], left = layer.padding[1][0], sums = new Float64Array(K);
    const kernel = w.kernel, bias = w.bias;
    for (let i = 0; i < oh; i++) for (let j = 0; j < ow; j++) {
      if (bias) sums.set(bias); else sums.fill(0);
      for (let p = 0; p < kh; p++) {
        const y = i * sy - top + p * dy;
        if (y < 0 || y >= H) continue;
        for (let q = 0; q < kw; q++) {
          const z = j * sx - left + q * dx;
          if (z < 0 || z >= W) continue;
          for (let g = 0; g < groups; g++) for (let c = 0; c < within; c++) {
            const value = x[(y * W + z) * C + g * within + c];
            if (value === 0) continue;
            const row = ((p * kw + q) * within + c) * K, end = (g + 1) * per;
            for (let k = g * per; k < end; k++) sums[k] += value * kernel[row + k];
          }
        }
      }
      out.set(sums, (i * ow + j) * K);
    }
  },
  dense(layer, [x], [from], w, out) {
    const K = layer.shape[2], sums = new Float64Array(K);
    if (w.bias) sums.set(w.bias);
    for (let c = 0; c < x.length; c++) {
      const value = x[c];
      if (value !== 0) for (let k = 0; k < K; k++) sums[k] += value * w.kernel[c * K + k];
    }
    out.set(sums);
  },
  scale(layer, [x], from, w, out) {
    const C = layer.shape[2];
    for (let i = 0; i < out.length; i++) out[i] = x[i] * w.factor[i % C] + w.summand[i % C];
  },
  clip(layer, [x], from, w, out) {
    const low = layer.low ?? -Infinity, high = layer.high ?? Infinity;
    for (let i = 0; i < out.length; i++) out[i] = Math.min(Math.max(x[i], low), high);
  },
  act(layer, [x], from, w, out) {
    const f = ACTS[layer.kind];
    for (let i = 0; i < out.length; i++) out[i] = f(x[i]);
  },
  add(layer, [x, y], from, w, out) { for (let i = 0; i < out.length; i++) out[i] = x[i] + y[i]; },
  mul(layer, [x, y], from, w, out) {
    for (let i = 0; i < out.length; i++) out[i] = x[i % x.length] * y[i % y.length];
  },
  spread(layer, [x], from, w, out) {
    for (let i = 0; i < out.length; i++) out[i] = x[i % x.length];
  },
  flatten(layer, [x], from, w, out) { out.set(x); },
  pool(layer, [x], [from], out, kind) {
    const [H, W, C] = from.shape, [oh, ow] = layer.shape;
    const [kh, kw] = layer.window, [sy, sx] = layer.stride;
    const top = layer.padding[0][0], left = layer.padding[1][0];
    for (let i = 0; i < oh; i++) for (let j = 0; j < ow; j++) for (let c = 0; c < C; c++) {
      let found = kind === "max" ? -Infinity : 0, first = null;
      taps(i, H, kh, sy, 1, top, (a, y) => taps(j, W, kw, sx, 1, left, (b, z) => {
        const value = x[(y * W + z) * C + c];
        first ??= value;
        found = kind === "max" ? Math.max(found, value) : found + value;
      }));
      if (kind === "first") found = first;
      if (kind === "mean") found /= layer.count;
      out[(i * ow + j) * C + c] = found;
    }
  },
  maxpool(layer, x, from, w, out) { OPS.pool(layer, x, from, out, "max"); },
  meanpool(layer, x, from, w, out) { OPS.pool(layer, x, from, out, "mean"); },
  sumpool(layer, x, from, w, out) { OPS.pool(layer, x, from, out, "sum"); },
  whole([x], [from], out, kind) {
    const C = from.shape[2], sums = new Float64Array(C).fill(kind === "max" ? -Infinity : 0);
    for (let i = 0; i < x.length; i++) {
      sums[i % C] = kind === "max" ? Math.max(sums[i % C], x[i]) : sums[i % C] + x[i];
    }
    for (let c = 0; c < C; c++) out[c] = kind === "mean" ? sums[c] * C / x.length : sums[c];
  },
  mean(layer, x, from, w, out) { OPS.whole(x, from, out, "mean"); },
  sum(layer, x, from, w, out) { OPS.whole(x, from, out, "sum"); },
  max(layer, x, from, w, out) { OPS.whole(x, from, out, "max"); },
  concat(layer, xs, from, w, out) {
    const K = layer.shape[2];
    let first = 0;
    xs.forEach((x, n) => {
      const C = from[n].shape[2];
      for (let i = 0; i < x.length; i++) out[Math.floor(i / C) * K + first + i % C] = x[i];
      first += C;
    });
  },
  slice(layer, [x], [from], w, out) {
    const [, W, C] = from.shape, [oh, ow] = layer.shape;
    for (let i = 0; i < oh; i++) for (let j = 0; j < ow; j++) for (let c = 0; c < C; c++) {
      const y = layer.start[0] + i * layer.stride[0], z = layer.start[1] + j * layer.stride[1];
      out[(i * ow + j) * C + c] = x[(y * W + z) * C + c];
    }
  },
  pad(layer, [x], [from], w, out) {
    const [H, W, C] = from.shape, [, ow, K] = layer.shape, [top, left, before] = layer.before;
    for (let i = 0; i < H; i++) for (let j = 0; j < W; j++) for (let c = 0; c < C; c++) {
      out[((i + top) * ow + j + left) * K + before + c] = x[(i * W + j) * C + c];
    }
  },
};

const isAct = (layer) => layer.op === "clip" || layer.op === "act";

// Everything that the network computes: one array for each layer.
// change: {act, shortcut, stride}: true to drop the activations, cut the shortcuts, or take one
// value of each window in place of its maximum or mean.
function forward(net, weights, x, change = {}) {
  const outs = [];
  net.layers.forEach((layer, n) => {
    const out = new Float32Array(sizeOf(layer.shape));
    const xs = layer.inputs.map((i) => outs[i]), from = layer.inputs.map((i) => net.layers[i]);
    if (layer.op === "input") out.set(x);
    else if (change.act && isAct(layer)) out.set(xs[0]);
    else if (change.shortcut && layer.op === "add") out.set(xs[branchOf(layer)]);
    else if (change.stride && /^(max|mean)pool$/.test(layer.op)) {
      OPS.pool(layer, xs, from, out, "first");
    } else OPS[layer.op](layer, xs, from, weights[n], out);
    outs.push(out);
  });
  return outs;
}

// Of the two inputs of a sum, the branch: the shortcut skips it, and so comes from further ahead.
const branchOf = (layer) => layer.inputs[0] > layer.inputs[1] ? 0 : 1;

function softmax(logits) {
  const most = Math.max(...logits), powers = Array.from(logits, (v) => Math.exp(v - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((p) => p / sum);
}

const argmax = (values) => values.reduce((best, v, i) => v > values[best] ? i : best, 0);

// The part of a layer's input that a rectangle [top, bottom, left, right] of its output reads.
function windowOf(layer, from, [top, bottom, left, right]) {
  const [H, W] = from.shape;
  const span = (axis, first, last, size) => {
    if (layer.op === "conv" || layer.op.endsWith("pool")) {
      const window = layer.op === "conv" ? layer.arrays[0][1][axis] : layer.window[axis];
      const dilation = layer.op === "conv" ? layer.dilation[axis] : 1;
      const begin = -layer.padding[axis][0];
      first = first * layer.stride[axis] + begin;
      last = last * layer.stride[axis] + begin + (window - 1) * dilation;
    } else if (layer.op === "slice") {
      first = layer.start[axis] + first * layer.stride[axis];
      last = layer.start[axis] + last * layer.stride[axis];
    } else if (layer.op === "pad") {
      first -= layer.before[axis];
      last -= layer.before[axis];
    } else if (["dense", "flatten", "mean", "sum", "max"].includes(layer.op) || size === 1) {
      return [0, size - 1];
    }
    return [Math.max(0, first), Math.min(size - 1, last)];
  };
  return [...span(0, top, bottom, H), ...span(1, left, right, W)];
}

// The receptive field of a unit in the image: [top, bottom, left, right].
function fieldOf(net, index, y, x) {
  const seen = new Map([[index, [y, y, x, x]]]);
  for (let n = index; n > 0; n--) {
    if (!seen.has(n)) continue;
    for (const i of net.layers[n].inputs) {
      const part = windowOf(net.layers[n], net.layers[i], seen.get(n)), old = seen.get(i);
      seen.set(i, old ? [Math.min(old[0], part[0]), Math.max(old[1], part[1]),
        Math.min(old[2], part[2]), Math.max(old[3], part[3])] : part);
    }
  }
  return seen.get(0) ?? [0, 0, 0, 0];
}

// Connected positions of one map whose class is not the background, as boxes with the class of
// most of their evidence.
function regionsOf(classes, logits, H, W, K, least) {
  const seen = new Uint8Array(H * W), found = [];
  for (let start = 0; start < H * W; start++) {
    if (seen[start] || classes[start] === 0) continue;
    const queue = [start], box = [H, -1, W, -1], evidence = new Float64Array(K);
    seen[start] = 1;
    for (let n = 0; n < queue.length; n++) {
      const at = queue[n], y = Math.floor(at / W), x = at % W;
      box[0] = Math.min(box[0], y); box[1] = Math.max(box[1], y);
      box[2] = Math.min(box[2], x); box[3] = Math.max(box[3], x);
      const shares = softmax(logits.subarray(at * K, (at + 1) * K));
      for (let k = 1; k < K; k++) evidence[k] += shares[k];
      for (let a = -1; a <= 1; a++) for (let b = -1; b <= 1; b++) {
        const i = y + a, j = x + b, next = i * W + j;
        if (i < 0 || j < 0 || i >= H || j >= W || seen[next] || classes[next] === 0) continue;
        seen[next] = 1;
        queue.push(next);
      }
    }
    if (queue.length < least) continue;
    const total = evidence.reduce((a, b) => a + b, 0), best = argmax(Array.from(evidence));
    found.push({ box, size: queue.length, digit: best - 1, share: evidence[best] / total });
  }
  return found;
}

// A digit of 8x8 numbers in 0..16 on a canvas, enlarged as in the training.
function onCanvas(small, enlarging, side, level, gain) {
  const big = enlarging.length, edge = (side - big) / 2, out = new Float32Array(side * side);
  for (let i = 0; i < big; i++) for (let l = 0; l < big; l++) {
    let sum = 0;
    for (let j = 0; j < 8; j++) for (let k = 0; k < 8; k++) {
      sum += enlarging[i][j] * small[8 * j + k] / 16 * enlarging[l][k];
    }
    out[(i + edge) * side + l + edge] = Math.min(1, Math.max(0, (sum - level) * gain + 0.5));
  }
  return out;
}
