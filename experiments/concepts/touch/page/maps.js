// The feature maps of every layer, and the way from unit to unit.

const MAPS = 32; // shown at first, of a layer with more
let views = []; // for each layer: {details, cells: [{element, canvas, cursor, window}], most}

function cellSize([h, w]) {
  if (h === 1) return [Math.max(2, Math.min(7, Math.floor(280 / w))) * w, 14];
  const unit = Math.max(1, Math.min(6, Math.floor(100 / w)));
  return [unit * w, unit * h];
}

function explain(owner, index) {
  const layer = owner.layers[index];
  const kind = kindOf(layer, index), times = (pair) => pair.join("×");
  const shape = layer.arrays[0]?.[1];
  const one = layer.op === "conv" && shape[2] === 1;
  const [first, second] = layer.op === "add" ? [layer.inputs[1 - branchOf(layer)], layer.inputs[branchOf(layer)]] : [0, 0];
  return t(one ? "e_conv_one" : `e_${kind}`, {
    a: layerName(owner, first), b: layerName(owner, second), k: layer.op === "conv" ? times(shape.slice(0, 2)) : layer.window ? times(layer.window) : "",
    c: layer.op === "conv" ? shape[2] : "", s: layer.stride ? Math.max(...layer.stride) : "",
    p: layer.padding ? [...new Set(layer.padding[1])].join("+") : "", n: shape ? whole(sizeOf(shape.slice(0, 3))) : "",
  });
}

function shapeText([h, w, c]) { return h === 1 && w === 1 ? whole(c) : h === 1 ? `${c} × ${w}` : `${c} × ${h} × ${w}`; }

const isInk = (index) => index === 0 && C === 1 && H > 1;
let viewed = null; // the network that the views are of

function viewMaps(owner) {
  if (viewed === owner) return;
  viewed = owner;
  glance(owner);
  views = [];
  state.unit = null;
  const many = owner.layers.length > 24;
  const home = document.querySelector(".looking");
  home.append($("unit"));
  $("maps").replaceChildren();
  owner.layers.forEach((layer, index) => {
    const [h_, w_, c_] = layer.shape, vector = h_ === 1 && w_ === 1;
    const grid = h("div", { class: "grid", role: "row" });
    const holder = h("div", { role: "grid" }, grid);
    const title = h("b"), more = h("span"), what = h("p", { class: "what" });
    const legend = h("canvas", { "aria-hidden": "true" }), low = h("span"), high = h("span");
    const numbers = h("div"), kernels = h("div");
    const table_ = h("details", {}, h("summary"), numbers);
    const all = h("button", { type: "button", hidden: c_ <= MAPS });
    const details = h("details", { class: "layer", id: `layer-${index}` }, h("summary", {}, title, more), what, holder,
      h("div", { class: "scale" }, low, legend, high), kernels, all, table_);
    details.open = !many || index < 6 || index >= owner.layers.length - 2;
    const view = { details, holder, grid, cells: [], most: 1, low, high, legend, numbers, kernels, table: table_ };
    views.push(view);
    $("maps").append(details);
    const addCells = (until) => {
      for (let c = view.cells.length; c < until; c++) {
        const canvas = h("canvas", { "aria-hidden": "true" });
        const cursor = h("i", { class: "mark hand", hidden: true }), window_ = h("i", { class: "mark", hidden: true });
        const cell = h("div", { class: vector ? "map vector" : "map", role: "gridcell", tabindex: c ? -1 : 0 }, canvas, window_, cursor);
        const text = vector ? h("span") : null;
        if (text) cell.prepend(text);
        if (!vector) {
          const [wide, high_] = cellSize(layer.shape);
          cell.style.width = `${wide + 2}px`;
          cell.style.height = `${high_ + 2}px`;
        }
        const own = { element: cell, canvas, cursor, window: window_, text };
        view.cells.push(own);
        grid.append(cell);
        const pick = (event) => {
          const box = canvas.getBoundingClientRect();
          const y = Math.min(h_ - 1, Math.max(0, Math.floor((event.clientY - box.top) / box.height * h_)));
          const x = Math.min(w_ - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * w_)));
          select({ layer: index, y: vector ? 0 : y, x: vector ? 0 : x, c }, event.type === "pointerdown");
        };
        cell.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") pick(event); });
        cell.addEventListener("pointerdown", pick);
        cell.addEventListener("focus", () => {
          const at = state.unit;
          if (cell.matches(":focus-visible") && !(at?.layer === index && at.c === c)) {
            select({ layer: index, y: h_ >> 1, x: w_ >> 1, c }, false);
          }
        });
      }
      view.name();
    };
    view.name = () => {
      title.textContent = layerName(owner, index);
      more.textContent = shapeText(layer.shape);
      what.textContent = explain(owner, index);
      all.textContent = t("more_maps", { n: c_ });
      table_.firstChild.textContent = t("numbers");
      holder.setAttribute("aria-label", t(vector ? "vector_label" : "grid_label",
        { layer: layerName(owner, index), n: c_, h: h_, w: w_ }));
      view.cells.forEach((cell, c) => cell.element.setAttribute("aria-label",
        t("map_label", { layer: layerName(owner, index), c: c + 1, n: c_ })));
    };
    addCells(Math.min(MAPS, c_));
    all.addEventListener("click", () => { addCells(c_); all.hidden = true; drawLayer(index); });
    holder.addEventListener("keydown", (event) => walk(event, index));
    for (const each of [details, table_]) each.addEventListener("toggle", () => drawLayer(index));
  });
}

// The whole network in one line, with the strongest map of each layer; a link leads to the layer.
function glance(owner) {
  const list = $("glance");
  list.hidden = owner.layers.length > 40;
  if (list.hidden) return;
  owner.thumbs = owner.layers.map(() => h("canvas", { "aria-hidden": "true" }));
  list.replaceChildren(...owner.layers.map((layer, index) => {
    const label = h("span", { text: layerName(owner, index) });
    const link = h("a", { href: `#layer-${index}` }, owner.thumbs[index], label);
    link.addEventListener("click", () => { views[index].details.open = true; });
    return h("li", {}, link);
  }));
}

function drawThumb(index) {
  const canvas = viewed.thumbs?.[index], out = state.outs[index], [h_, w_, c_] = viewed.layers[index].shape;
  if (!canvas || $("glance").hidden) return;
  const size = out.reduce((m, v) => Math.max(m, Math.abs(v)), 0) || 1;
  if (h_ * w_ === 1) { // all numbers, as a column
    paint(canvas, c_, 1, (i) => shade(out[i] / size));
    canvas.className = "column";
    return;
  }
  const sums = new Float64Array(c_);
  out.forEach((v, i) => { sums[i % c_] += Math.abs(v); });
  const c = argmax(Array.from(sums));
  paint(canvas, h_, w_, isInk(index) ? (i) => shade(out[i * c_], colours.ink) : (i) => shade(out[i * c_ + c] / size));
}

// Kernels of a convolution that reads one channel, as small images under its maps.
function drawKernels(index) {
  const layer = viewed.layers[index], { kernels } = views[index];
  const [kh, kw, within, K] = layer.op === "conv" ? layer.arrays[0][1] : [];
  if (within !== 1 || kh * kw === 1 || K > MAPS) return;
  const w = state.now.weights[index].kernel, size = w.reduce((m, v) => Math.max(m, Math.abs(v)), 0) || 1;
  if (!kernels.childElementCount) {
    kernels.append(h("p", { class: "what" }), h("div", { class: "grid" }, Array.from({ length: K }, () => h("canvas", { class: kh === 1 ? "kernel flat" : "kernel", "aria-hidden": "true" }))));
  }
  kernels.firstChild.textContent = t("kernels", { n: K });
  kernels.lastChild.childNodes.forEach((canvas, k) => paint(canvas, kh, kw, (i) => shade(w[i * K + k] / size)));
}

function buildMaps() {
  page.images.push(() => {
    viewMaps(state.now.net);
    views.forEach((_, index) => { drawThumb(index); drawLayer(index); });
    mark();
  });
  page.listeners.push(() => {
    if (viewed) glance(viewed);
    views.forEach((view, index) => { view.name(); drawThumb(index); drawLayer(index); });
    if (state.now) mark();
  });
}

// Least, mean and most of each map: what stands behind the colours.
function statistics(out, channels, shown_ = channels) {
  const rows = Array.from({ length: shown_ }, (_, c) => {
    let low = Infinity, high = -Infinity, sum = 0, active = 0;
    for (let i = c; i < out.length; i += channels) {
      low = Math.min(low, out[i]); high = Math.max(high, out[i]); sum += out[i]; active += out[i] !== 0;
    }
    const n = out.length / channels;
    return [String(c + 1), short(low), short(sum / n), short(high), percent(active / n, 0)];
  });
  return table("", [t("numbers_map"), t("least"), t("mean"), t("most"), t("active")], rows, [0, 1, 2, 3, 4]);
}

function drawLayer(index) {
  const view = views[index], out = state.outs[index], [h_, w_, c_] = viewed.layers[index].shape;
  if (!view.details.open || !out) return;
  let most = 0, least = 0;
  for (const v of out) { if (v > most) most = v; if (v < least) least = v; }
  const size = Math.max(most, -least) || 1;
  view.most = size;
  view.cells.forEach((cell, c) => {
    paint(cell.canvas, h_, w_, isInk(index) ? (i) => shade(out[i * c_ + c], colours.ink)
      : (i) => shade(out[i * c_ + c] / size));
    if (cell.text) {
      const name = index === viewed.layers.length - 1 && c < DATA.classes.length ? `${className(c)}: ` : "";
      cell.text.textContent = name + short(out[c]);
    }
  });
  drawKernels(index);
  view.low.textContent = least < 0 ? short(-size) : "0";
  view.high.textContent = short(size);
  paint(view.legend, 1, 64, isInk(index) ? (i) => shade(i / 63, colours.ink)
    : (i) => shade(least < 0 ? i / 31.5 - 1 : i / 63));
  if (view.table.open || page.printing) {
    view.numbers.replaceChildren(statistics(out, c_, view.cells.length));
  }
}

// By keys: one tab stop a layer, arrows from unit to unit and over the edge to the next map.
function walk(event, index) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const [h_, w_] = viewed.layers[index].shape, n = views[index].cells.length;
  const at = state.unit?.layer === index ? { ...state.unit } : { layer: index, y: h_ >> 1, x: w_ >> 1, c: 0 };
  const turn = (by) => { at.c = (at.c + by + n) % n; };
  if (event.key === "ArrowRight") { if (++at.x === w_) { at.x = 0; turn(1); } }
  else if (event.key === "ArrowLeft") { if (--at.x < 0) { at.x = w_ - 1; turn(-1); } }
  else if (event.key === "ArrowDown") { if (h_ === 1) turn(1); else at.y = Math.min(h_ - 1, at.y + 1); }
  else if (event.key === "ArrowUp") { if (h_ === 1) turn(-1); else at.y = Math.max(0, at.y - 1); }
  else if (event.key === "PageDown") turn(1);
  else if (event.key === "PageUp") turn(-1);
  else if (event.key === "Home") at.c = 0;
  else if (event.key === "End") at.c = n - 1;
  else return;
  event.preventDefault();
  select(at, true);
}

function select(unit, focus) {
  state.unit = unit;
  const view = views[unit.layer];
  view.cells.forEach((cell, c) => cell.element.setAttribute("tabindex", c === unit.c ? "0" : "-1"));
  if (focus) view.cells[unit.c].element.focus({ preventScroll: matchMedia("(max-width: 860px)").matches });
  const narrow = matchMedia("(max-width: 860px)").matches, home = $("unit").parentElement;
  if (narrow && home !== view.details) view.details.insertBefore($("unit"), view.holder.nextSibling);
  if (!narrow && !home.classList.contains("looking")) document.querySelector(".looking").append($("unit"));
  mark();
}

// The unit, the window that it looks at in the layer before, and its field in the image.
function mark() {
  for (const view of views) for (const cell of view.cells) { cell.cursor.hidden = true; cell.window.hidden = true; }
  for (const frame of fields) frame.hidden = true;
  const unit = state.unit;
  if (!unit || !state.outs.length) { drawUnit(); return; }
  const layer = viewed.layers[unit.layer], [h_, w_, c_] = layer.shape;
  const cell = views[unit.layer].cells[unit.c];
  if (h_ * w_ > 1) place(cell.cursor, [unit.y, unit.y, unit.x, unit.x], h_, w_);
  for (const i of layer.inputs) {
    const from = viewed.layers[i], [fh, fw] = from.shape;
    if (fh * fw === 1) continue;
    const window_ = windowOf(layer, from, [unit.y, unit.y, unit.x, unit.x]);
    const all = layer.op === "conv" || layer.op === "dense";
    views[i].cells.forEach((each, c) => { if (all || c === unit.c) place(each.window, window_, fh, fw); });
  }
  const field = fieldOf(viewed, unit.layer, unit.y, unit.x);
  if (!state.change.shuffle) for (const frame of fields) place(frame, field, H, W);
  const v = short(state.outs[unit.layer][(unit.y * w_ + unit.x) * c_ + unit.c], 3);
  $("unit-said").textContent = t(h_ * w_ === 1 ? "unit_said_vector" : "unit_said",
    { layer: layerName(viewed, unit.layer), c: unit.c + 1, y: unit.y + 1, x: unit.x + 1, v });
  drawUnit(field);
}
