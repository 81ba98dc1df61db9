// A curve of 40 samples, and four networks that halve the time in different ways.

const WAYS = ["none", "stride", "mean", "pool"];
const curve = { values: null, original: null, index: 0, at: 0, way: "pool", label: null };

function curveOuts(way, values) {
  const own = DATA.curve.nets[way];
  return forward(own.net, weightsAt(own.net, own.snapshot), values);
}

// The layer with the last maps: before everything becomes one row.
const lastMaps = (owner) => owner.layers.findLastIndex((layer) => layer.shape[1] > 1);

function changeByShift(way) {
  const owner = DATA.curve.nets[way].net, at = lastMaps(owner);
  const before = curveOuts(way, curve.values)[at], after = curveOuts(way, shiftedBy(curve.values, 1))[at];
  let difference = 0, size = 0;
  for (let i = 0; i < before.length; i++) {
    difference += Math.abs(after[i] - before[i]);
    size += (Math.abs(before[i]) + Math.abs(after[i])) / 2;
  }
  return size ? difference / size : 0;
}


function buildCurve() {
  $("curve").hidden = !DATA.curve;
  if (!DATA.curve) return;
  const samples = numbersOf(DATA.curve.samples, "f4"), labels = bytesOf(DATA.curve.labels), n = labels.length, T = 40;
  const made = makePlot({ count: T, top: () => 4, id: "plot-time", get: () => curve.values, ghost: () => curve.original,
    changed: () => { curve.label = null; draw(); } });
  const tools = h("div", { class: "row tools" }), text = h("p", { class: "answer", role: "status", id: "curve-answer" });
  const ways = h("div"), strips = h("div", { class: "strips" }), summary = h("div");
  const numbers = h("div"), numbersBox = h("details", {}, h("summary"), numbers);
  $("curve-body").append(h("div", { class: "two" }, h("div", {}, made.plot, made.value, tools, numbersBox), h("div", {}, text, summary)), ways, strips);

  const load = (index) => {
    curve.index = index;
    curve.original = samples.slice(index * T, index * T + T);
    curve.values = curve.original.slice();
    curve.label = labels[index];
    draw();
  };
  const draw = () => {
    made.draw();
    const outs = curveOuts(curve.way, curve.values), logits = outs[outs.length - 1];
    const answer = `${t("answer", { name: argmax(logits) })} ${curve.label === null ? "" : t("truth", { name: curve.label })}`;
    if (text.textContent !== answer) text.textContent = answer;
    const rows = WAYS.map((way) => {
      const own = DATA.curve.nets[way], out = curveOuts(way, curve.values);
      return [t(`c_${way}`), percent(own.accuracy), String(argmax(out[out.length - 1])), percent(changeByShift(way), 0)];
    });
    summary.replaceChildren(table(t("c_caption"), [t("c_way"), t("c_right"), t("c_answer"), t("c_change")], rows, [1, 2, 3]),
      h("p", { class: "note", text: t("c_change_note") }));
    drawStrips(outs);
    if (numbersBox.open) drawNumbers();
  };
  const drawNumbers = () => {
    const rows = Array.from({ length: 8 }, (_, r) => Array.from({ length: 5 }, (_, c) => [String(5 * r + c + 1), short(curve.values[5 * r + c])]).flat());
    numbers.replaceChildren(h("table", { class: "five" }, h("tbody", {}, rows.map((row) => h("tr", {}, row.map((v, i) => h(i % 2 ? "td" : "th", { text: v, class: "n" })))))));
  };
  const opened = new Set(); // layers whose numbers are shown
  const drawStrips = (outs) => {
    const owner = DATA.curve.nets[curve.way].net;
    strips.replaceChildren(...owner.layers.flatMap((layer, index) => {
      const [, steps, channels] = layer.shape;
      if (index === 0 || steps === 1) return [];
      const canvas = h("canvas", { role: "img", "aria-label": t("c_strip", { layer: layerName(owner, index), n: channels, t: steps }) });
      const out = outs[index], most = out.reduce((m, v) => Math.max(m, Math.abs(v)), 0) || 1;
      paint(canvas, channels, steps, (i) => shade(out[(i % steps) * channels + Math.floor(i / steps)] / most));
      const numbers_ = h("details", { open: opened.has(index), ontoggle: (event) => { if (event.target.open) opened.add(index); else opened.delete(index); } },
        h("summary", { text: t("numbers_short") }), statistics(out, channels));
      return [h("figure", {}, h("figcaption", { text: t("c_strip", { layer: layerName(owner, index), n: channels, t: steps }) }), canvas, numbers_)];
    }));
  };
  numbersBox.addEventListener("toggle", () => { if (numbersBox.open) drawNumbers(); });
  load(0);
  shown(() => {
    const button = (key, action, id) => h("button", { type: "button", text: t(key), id, onclick: action });
    const shift = (by) => () => { curve.values = shiftedBy(curve.values, by); draw(); };
    tools.replaceChildren(button("curve_example", () => load((curve.index + 1) % n), "curve-example"), button("curve_back", shift(-1)),
      button("curve_on", shift(1), "curve-on"), button("curve_reset", () => { curve.values = curve.original.slice(); draw(); }));
    ways.replaceChildren(h("fieldset", {}, h("legend", { text: t("c_how") }), h("div", { class: "choices" }, WAYS.map((way) => {
      const radio = h("input", { type: "radio", name: "way", value: way, id: `way-${way}` });
      radio.checked = curve.way === way;
      radio.addEventListener("change", () => { curve.way = way; draw(); });
      return h("label", {}, radio, h("span", { text: t(`c_${way}`) }));
    }))));
    numbersBox.firstChild.textContent = t("c_numbers");
    draw();
  });
  page.drawCurve = () => { numbersBox.open = page.printing || numbersBox.open; draw(); };
}
