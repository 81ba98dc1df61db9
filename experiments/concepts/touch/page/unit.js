// How one unit comes to its number: its window, the weights, the products and their sum.

let chosenChannel = null; // of the window; null for that which adds most

function grid(rows, label, options = {}) {
  const size = Math.max(1e-9, ...rows.flat().map((v) => v === null ? 0 : Math.abs(v)));
  return h("figure", {}, h("figcaption", { text: label }), h("table", { class: rows.length === 1 ? "cells sequence" : "cells" },
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((v) => {
      const cell = h("td", { text: v === null ? "0" : short(v), class: v === null ? "out" : options.best === v ? "best" : undefined });
      if (v !== null && size > 0) {
        const rgb = shade(v / size, options.ink ? colours.ink : undefined);
        cell.style.background = css(rgb);
        cell.style.color = onColour(rgb);
      }
      return cell;
    }))))));
}

// The numbers in the window of a unit, one channel: null outside.
function windowCells(layer, from, x, unit, c) {
  const [fh, fw, fc] = from.shape;
  const [kh, kw] = layer.op === "conv" ? layer.arrays[0][1] : layer.window;
  const [dy, dx] = layer.dilation ?? [1, 1], rows = [];
  for (let a = 0; a < kh; a++) {
    const row = [];
    for (let b = 0; b < kw; b++) {
      const y = unit.y * layer.stride[0] - layer.padding[0][0] + a * dy;
      const z = unit.x * layer.stride[1] - layer.padding[1][0] + b * dx;
      row.push(y < 0 || z < 0 || y >= fh || z >= fw ? null : x[(y * fw + z) * fc + c]);
    }
    rows.push(row);
  }
  return rows;
}

function convUnit(layer, w, x, from, unit, value) {
  const [kh, kw, within, K] = layer.arrays[0][1], group = Math.floor(unit.c / (K / layer.groups));
  const channels = [];
  for (let c = 0; c < within; c++) {
    const cells = windowCells(layer, from, x, unit, group * within + c), weights = [], products = [];
    let sum = 0;
    for (let a = 0; a < kh; a++) {
      weights.push([]); products.push([]);
      for (let b = 0; b < kw; b++) {
        const weight = w.kernel[((a * kw + b) * within + c) * K + unit.c];
        weights[a].push(weight);
        products[a].push(cells[a][b] === null ? null : cells[a][b] * weight);
        sum += (cells[a][b] ?? 0) * weight;
      }
    }
    channels.push({ c: group * within + c, cells, weights, products, sum });
  }
  const total = channels.reduce((s, each) => s + each.sum, 0), n = whole(kh * kw * within);
  const best = channels.reduce((a, b) => Math.abs(b.sum) > Math.abs(a.sum) ? b : a);
  const picked = channels.find((each) => each.c === chosenChannel) ?? best;
  const choose = h("select", { "aria-label": t("w_channel"), onchange: (event) => { chosenChannel = Number(event.target.value); drawUnit(state.field); } },
    channels.map((each) => h("option", { value: each.c, selected: each === picked, text: t("w_channel_option", { c: each.c + 1, v: short(each.sum, 3) }) })));
  const isImage = from.op === "input" && C === 1;
  return [h("p", { class: "sum", text: w.bias
    ? t("w_sum", { sum: short(total, 3), n, bias: short(w.bias[unit.c], 3), value: short(value, 3) })
    : t("w_sum_only", { sum: short(value, 3), n }) }),
  channels.length > 1 ? h("p", {}, choose) : null,
  h("div", { class: "windows" }, grid(picked.cells, t("w_window"), { ink: isImage }), grid(picked.weights, t("w_weights")),
    grid(picked.products, t("w_products"))),
  picked.cells.flat().includes(null) ? h("p", { class: "note", text: t("w_outside") }) : null];
}

const TERMS = 8;
function denseUnit(layer, w, x, unit, value) {
  const K = layer.shape[2], terms = Array.from(x, (v, i) => ({ i, v, w: w.kernel[i * K + unit.c] }));
  const total = terms.reduce((s, each) => s + each.v * each.w, 0);
  const largest = terms.sort((a, b) => Math.abs(b.v * b.w) - Math.abs(a.v * a.w)).slice(0, TERMS);
  const name = unit.layer === state.now.net.layers.length - 1 ? h("p", {}, t("w_class", { name: className(unit.c) })) : null;
  return [name, h("p", { class: "sum", text: w.bias
    ? t("w_sum", { sum: short(total, 3), n: whole(x.length), bias: short(w.bias[unit.c], 3), value: short(value, 3) })
    : t("w_sum_only", { sum: short(value, 3), n: whole(x.length) }) }),
  table(t("w_terms", { n: largest.length, all: whole(x.length) }), [t("w_from"), t("w_value"), t("w_weight"), t("w_products")],
    largest.map((each) => [String(each.i + 1), short(each.v, 3), short(each.w, 3), short(each.v * each.w, 3)]), [0, 1, 2, 3])];
}

function unitParts(layer, unit) {
  const now = state.now, [h_, w_, c_] = layer.shape, outs = state.outs;
  const at = (i) => { const [, fw, fc] = now.net.layers[i].shape; return outs[i][(unit.y * fw + unit.x) * fc + unit.c]; };
  const value = outs[unit.layer][(unit.y * w_ + unit.x) * c_ + unit.c], v = short(value, 3);
  const line = (key, values) => [h("p", { class: "sum", text: t(key, values) })];
  const [i] = layer.inputs, w = now.weights[unit.layer], from = now.net.layers[i], x = outs[i];
  const kind = kindOf(layer, unit.layer);
  if (layer.op === "input") return line("w_input", { v });
  if (layer.op === "conv") return convUnit(layer, w, x, from, unit, value);
  if (layer.op === "dense") return denseUnit(layer, w, x, unit, value);
  if (layer.op === "scale") {
    return [...line("w_scale", { x: short(at(i), 3), a: short(w.factor[unit.c % w.factor.length], 3), b: short(w.summand[unit.c % w.summand.length], 3), v }),
      kind === "norm" ? h("p", { class: "note", text: t("w_scale_note") }) : null];
  }
  if (isAct(layer)) {
    const key = now.change.act ? "w_dropped" : kind === "relu" ? "w_clip" : "w_clip_general";
    return line(key, { x: short(at(i), 3), v });
  }
  if (layer.op.endsWith("pool") && layer.window) {
    const cells = windowCells(layer, from, x, unit, unit.c), max = layer.op === "maxpool" && !now.change.stride;
    const key = now.change.stride ? "w_first" : max ? "w_max" : "w_mean";
    return [...line(key, { v }), h("div", { class: "windows" }, grid(cells, t("w_window"), { best: max || now.change.stride ? value : undefined }))];
  }
  if (layer.op === "add") {
    const branch = branchOf(layer), [a, b] = [at(layer.inputs[1 - branch]), at(layer.inputs[branch])];
    return line(now.change.shortcut ? "w_cut" : "w_add", { a: short(a, 3), b: short(b, 3), v });
  }
  if (layer.op === "mean") return line("w_whole", { n: whole(from.shape[0] * from.shape[1]), c: unit.c + 1, v });
  if (layer.op === "mul") return line("w_product", { a: short(at(layer.inputs[0]) ?? x[unit.c], 3), b: short(outs[layer.inputs[1]][unit.c] ?? 0, 3), v });
  return line("w_pass", { x: v, v });
}

function drawUnit(field) {
  const panel = $("unit-parts"), unit = state.unit;
  if (!unit || !state.outs.length) { panel.replaceChildren(h("h3", { text: t("unit") }), h("p", { class: "note", text: t("unit_none") })); return; }
  state.field = field;
  const owner = state.now.net, layer = owner.layers[unit.layer], [h_, w_] = layer.shape;
  const next = owner.layers.findIndex((each) => each.inputs.length === 1 && each.inputs[0] === unit.layer && (isAct(each) || each.op === "scale"));
  const parts = unitParts(layer, unit);
  if (next > 0 && (layer.op === "conv" || layer.op === "scale" || layer.op === "add")) {
    const c_ = layer.shape[2];
    parts.push(h("p", { text: t("w_then", { layer: layerName(owner, next), v: short(state.outs[next][(unit.y * w_ + unit.x) * c_ + unit.c], 3) }) }));
  }
  if (field && state.change.shuffle) parts.push(h("p", { class: "note", text: t("field_shuffled") }));
  else if (field) {
    const [a, b, c, d] = field;
    parts.push(h("p", { class: "note", text: t(H === 1 ? "field_time" : "field", { a: a + 1, b: b + 1, c: c + 1, d: d + 1, n: (b - a + 1) * (d - c + 1), all: H * W }) }));
  }
  const where = t(h_ * w_ === 1 ? "unit_said_vector" : "unit_said",
    { layer: layerName(owner, unit.layer), c: unit.c + 1, y: unit.y + 1, x: unit.x + 1,
      v: short(state.outs[unit.layer][(unit.y * w_ + unit.x) * layer.shape[2] + unit.c], 3) });
  panel.replaceChildren(h("h3", { text: t("unit") }), h("p", { text: where }), ...parts.filter(Boolean));
}
