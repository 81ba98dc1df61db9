// Builds the page, and follows the language, the colours of the system, and the printer.

function lead() {
  const source = DATA.source;
  $("lead").textContent = source.kind === "own"
    ? t("lead_own", { examples: whole(source.examples), seconds: source.seconds, parameters: whole(source.parameters),
      accuracy: Math.round(source.accuracy * source.tested), tested: source.tested })
    : t("lead_run", { parameters: whole(source.parameters), steps: whole(source.steps) });
  if (source.kind === "run") document.querySelector("#draw h2").textContent = t(H === 1 ? "line_title" : "draw_title_run");
  document.querySelector("#draw > p").textContent = H === 1 ? t("line_text", { n: W }) : t(source.kind === "own" ? "draw_text" : "draw_text_run", { side: C > 1 ? `${H} × ${W} × ${C}` : `${H} × ${W}` });
  document.querySelector("#switches > p").textContent = t(source.kind === "own" ? "switch_text" : "switch_text_run");
}

// The outputs of the page against those that JAX computed when it was made.
function checkAgreement() {
  if (!DATA.check) return null;
  const want = numbersOf(DATA.check.logits, "f4"), given = numbersOf(DATA.check.images, "f4"), size = H * W * C;
  const weights = weightsAt(net, net.snapshots[net.snapshots.length - 1]), n = given.length / size, k = want.length / n;
  let worst = 0, most = 0;
  for (let i = 0; i < n; i++) {
    const outs = forward(net, weights, given.subarray(i * size, (i + 1) * size)), got = outs[outs.length - 1];
    for (let c = 0; c < k; c++) {
      worst = Math.max(worst, Math.abs(got[c] - want[i * k + c]));
      most = Math.max(most, Math.abs(want[i * k + c]));
    }
  }
  return { n, v: worst / most };
}

function setLanguage(index) {
  page.language = index;
  document.documentElement.lang = ["en", "zh-CN"][index];
  document.title = t("title");
  for (const each of document.querySelectorAll("[data-t]")) each.textContent = t(each.dataset.t);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", t(each.dataset.label));
  $("lang-en").setAttribute("aria-pressed", String(index === 0));
  $("lang-zh").setAttribute("aria-pressed", String(index === 1));
  lead();
  $("contents").replaceChildren(...[...document.querySelectorAll("main > section:not(.print-only):not([hidden])")].map((section) =>
    h("li", {}, h("a", { href: `#${section.id}`, text: section.querySelector("h2").textContent }))));
  page.listeners.forEach((fn) => fn());
  if (state.outs.length) { drawBars(); footer(); }
}

function footer() {
  const parts = [];
  if (page.agreement) parts.push(h("p", { text: t("check", { n: page.agreement.n, v: page.agreement.v.toExponential(0) }) }));
  if (DATA.source.kind === "run") parts.push(h("p", { text: t("left_out") }));
  parts.push(h("p", {}, `${t("made_own")}${page.language ? "：" : ": "}`, h("code", { text: DATA.source.command })));
  $("footer").replaceChildren(...parts);
}

// The unit that is shown to begin with: that of the second convolution with the largest number.
function firstUnit() {
  const convs = net.layers.flatMap((layer, i) => layer.op === "conv" && layer.shape[1] > 1 ? [i] : []);
  const layer = convs[1] ?? convs[0];
  if (layer === undefined || !views[layer].details.open) return;
  const [, wide, channels] = net.layers[layer].shape, out = state.outs[layer];
  const best = argmax(Array.from(out, (v, i) => i % channels < views[layer].cells.length ? v : -Infinity));
  const at = Math.floor(best / channels);
  select({ layer, c: best % channels, y: Math.floor(at / wide), x: at % wide }, false);
}

// For tests and the curious: images go in and numbers come out as base64 of float32.
const base64Of = (values) => {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 4096) text += String.fromCharCode(...bytes.subarray(i, i + 4096));
  return btoa(text);
};
window.touch = {
  image: () => base64Of(state.image),
  show: (base64) => { setImage(numbersOf(base64, "f4")); compute(); },
  activations: (base64) => {
    const outs = forward(net, weightsAt(net, net.snapshots[net.snapshots.length - 1]), numbersOf(base64, "f4"));
    const all = new Float32Array(outs.reduce((n, out) => n + out.length, 0));
    outs.reduce((at, out) => { all.set(out, at); return at + out.length; }, 0);
    return base64Of(all);
  },
};

function start() {
  const wanted = (navigator.language || "en").toLowerCase().startsWith("zh") ? 1 : 0;
  if (H > 1) buildPad(); else buildLine();
  buildMoment();
  buildSwitches();
  buildMaps();
  page.images.push(drawBars);
  buildCurve();
  buildScene();
  buildGuess();
  $("lang-en").addEventListener("click", () => setLanguage(0));
  $("lang-zh").addEventListener("click", () => setLanguage(1));
  setLanguage(wanted);
  if (TESTS) { example = DATA.tests.first ?? 0; setImage(TESTS.image(example), TESTS.labels[example]); }
  else if (H > 1) drawRing();
  compute();
  firstUnit();
  page.agreement = checkAgreement();
  footer();
  const again = () => { readColours(); page.listeners.forEach((fn) => fn()); compute(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  let closed = []; // what is opened for the printer, and closed again
  const printing = (on) => {
    if (Boolean(page.printing) === on) return;
    page.printing = on;
    again();
    if (on) closed = [...document.querySelectorAll("details.part:not([open]), #moment details:not([open])")];
    for (const each of closed) each.open = on;
  };
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));
  document.documentElement.dataset.ready = "yes";
}

start();
