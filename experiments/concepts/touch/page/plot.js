// A curve that is drawn with a pointer or by keys: one tab stop, a slider for each sample.

const PLOT = { width: 640, height: 230, edge: 14 };

// options: {count, top: () -> number, get: () -> values, ghost: () -> values or null, changed(), id}
function makePlot(options) {
  const { count } = options;
  let at = 0, held = false;
  const x = (i) => PLOT.edge + i * (PLOT.width - 2 * PLOT.edge) / Math.max(1, count - 1);
  const y = (v) => PLOT.height / 2 - v / options.top() * (PLOT.height / 2 - 8);
  const keep = (v) => Math.min(options.top(), Math.max(-options.top(), v));
  const ghost = svg("polyline", { class: "ghost" }), line = svg("polyline", { class: "line" });
  const dots = Array.from({ length: count }, () => svg("circle", { r: count > 80 ? 2 : 4 }));
  const plot = svg("svg", { class: "plot", viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, tabindex: "0", role: "slider", id: options.id },
    svg("line", { class: "axis", x1: 0, x2: PLOT.width, y1: PLOT.height / 2, y2: PLOT.height / 2 }), ghost, line, dots);
  const value = h("p", { class: "status" });
  const points = (values) => Array.from(values, (v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ");

  const draw = () => {
    const values = options.get(), before = options.ghost();
    ghost.setAttribute("points", before ? points(before) : "");
    line.setAttribute("points", points(values));
    dots.forEach((dot, i) => {
      dot.setAttribute("cx", x(i));
      dot.setAttribute("cy", y(values[i]));
      dot.setAttribute("class", i === at ? "now" : "");
    });
    const text = t("curve_value", { i: at + 1, v: short(values[at]) });
    plot.setAttribute("aria-valuemin", -options.top());
    plot.setAttribute("aria-valuemax", options.top());
    plot.setAttribute("aria-valuenow", values[at].toFixed(2));
    plot.setAttribute("aria-valuetext", text);
    plot.setAttribute("aria-label", t("curve_label", { n: count }));
    value.textContent = text;
  };
  const setAt = (event) => {
    const box = plot.getBoundingClientRect();
    const i = Math.round(((event.clientX - box.left) / box.width * PLOT.width - PLOT.edge) / (PLOT.width - 2 * PLOT.edge) * (count - 1));
    at = Math.min(count - 1, Math.max(0, i));
    const up = PLOT.height / 2 - (event.clientY - box.top) / box.height * PLOT.height;
    options.get()[at] = keep(up / (PLOT.height / 2 - 8) * options.top());
    options.changed();
  };
  plot.addEventListener("pointerdown", (event) => { held = true; plot.setPointerCapture(event.pointerId); setAt(event); });
  plot.addEventListener("pointermove", (event) => { if (held) setAt(event); });
  for (const name of ["pointerup", "pointercancel"]) plot.addEventListener(name, () => { held = false; });
  plot.addEventListener("keydown", (event) => {
    const by = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key], go = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) options.get()[at] = keep(options.get()[at] + by * options.top() / 40);
    else if (go) at = Math.min(count - 1, Math.max(0, at + go));
    else if (event.key === "Home") at = 0;
    else if (event.key === "End") at = count - 1;
    else return;
    event.preventDefault();
    options.changed();
  });
  return { plot, value, draw };
}

// In the place of the drawing area, where a run is of sequences.
function buildLine() {
  let original = null;
  const top = () => Math.max(1, ...Array.from(original ?? [], Math.abs), ...Array.from(state.image, Math.abs));
  const made = makePlot({ count: W, top, id: "plot", get: () => state.image, ghost: () => original, changed: () => { state.label = null; soon(); } });
  $("pad").replaceChildren(made.plot, made.value);
  document.querySelector("#draw .bench").classList.add("wide");
  const strip = h("canvas", { "aria-hidden": "true" }), field = h("i", { class: "mark field", hidden: true });
  $("mini").classList.add("long");
  $("mini").prepend(h("div", { class: "pad line" }, strip, field));
  fields.push(field);
  const shift = (by) => { state.image = shiftedBy(state.image, by); soon(); };
  page.images.push(made.draw);
  page.images.push(() => paint(strip, 1, W, (i) => shade(state.image[i * C] / top())));
  shown(() => {
    const button = (key, onclick, id) => h("button", { type: "button", text: t(key), id, onclick });
    $("pad-tools").replaceChildren(...(TESTS ? [button("curve_example", () => { nextExample(); original = state.image.slice(); }, "example")] : []),
      button("curve_back", () => shift(-1)), button("curve_on", () => shift(1)),
      button("curve_reset", () => { if (original) setImage(original); }));
    made.draw();
  });
}

function shiftedBy(values, by) {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = values[Math.min(values.length - 1, Math.max(0, i - by))];
  return out;
}
