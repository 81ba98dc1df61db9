// What all parts of the page share: words in two languages, elements, colours, and the state.

const DATA = JSON.parse(document.getElementById("data").textContent);
const WORDS = JSON.parse(document.getElementById("words").textContent);
const $ = (id) => document.getElementById(id);
const LANGUAGES = ["en", "zh"];

const page = {
  language: 0,
  listeners: [], // called after the language or the colours have changed
  images: [], // called after the image, the weights or the switches have changed
};

const t = (key, values = {}) => WORDS[key][page.language]
  .replace(/\{(\w+)\}/g, (whole, name) => name in values ? values[name] : whole);

// A text of findings.json: the same in both languages, or one for each.
const said = (text) => text === null || text === undefined ? ""
  : typeof text === "object" ? text[LANGUAGES[page.language]] : String(text);

function h(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, options = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "text") element.textContent = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat());
  return element;
}

function table(caption, headings, rows, numeric = []) {
  const kind = (i) => numeric.includes(i) ? "n" : undefined;
  return h("table", {}, caption ? h("caption", { text: caption }) : null,
    h("thead", {}, h("tr", {}, headings.map((each, i) =>
      h("th", { scope: "col", class: kind(i), text: each })))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((each, i) =>
      h("td", { class: kind(i) }, each))))));
}

// A number in few characters, with a true minus sign.
function short(value, digits = 2) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "?";
  const size = Math.abs(value), tiny = digits > 2 && size !== 0 && size < 10 ** -digits / 2;
  const text = size >= 1e4 || tiny ? size.toExponential(1) : size.toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
}

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
const whole = (n) => n.toLocaleString(page.language ? "zh-CN" : "en-US");

function shown(fn) { page.listeners.push(fn); fn(); }

// Colours of numbers: 0 is the paper, blue below and orange above.

let colours = {};
function readColours() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches && !page.printing;
  colours = dark
    ? { zero: [20, 23, 27], above: [255, 176, 64], below: [86, 180, 255], ink: [235, 238, 242] }
    : { zero: [255, 255, 255], above: [196, 78, 0], below: [0, 95, 160], ink: [20, 24, 28] };
}
readColours();

function shade(share, end) {
  const s = Math.min(1, Math.abs(share)), far = end ?? (share < 0 ? colours.below : colours.above);
  return colours.zero.map((zero, i) => zero + (far[i] - zero) * s);
}

const css = (rgb) => `rgb(${rgb.map(Math.round).join(",")})`;

// Black or white, whichever reads better on a colour.
function onColour(rgb) {
  const linear = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18 ? "#000" : "#fff";
}

// Fills a canvas of H x W pixels by colour(i) -> [r, g, b] of each pixel.
function paint(canvas, H, W, colour) {
  if (canvas.width !== W || canvas.height !== H) { canvas.width = W; canvas.height = H; }
  const context = canvas.getContext("2d"), image = context.createImageData(W, H);
  for (let i = 0; i < H * W; i++) {
    const [r, g, b] = colour(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function place(mark, [top, bottom, left, right], H, W) {
  mark.hidden = false;
  mark.style.top = `${100 * top / H}%`;
  mark.style.left = `${100 * left / W}%`;
  mark.style.height = `${100 * (bottom - top + 1) / H}%`;
  mark.style.width = `${100 * (right - left + 1) / W}%`;
}

// The network that is shown, its image, and what it computes.

const net = DATA.net;
const [H, W, C] = net.layers[0].shape;
const state = {
  image: new Float32Array(H * W * C), // as drawn
  label: null, // of an example
  moment: net.snapshots.length - 1,
  change: { shuffle: false, act: false, shortcut: false, stride: false },
  trained: { shuffle: false, act: false, shortcut: false, stride: false },
  outs: [],
  unit: null, // {layer, y, x, c}
};
const decoded = new Map();

function weightsAt(owner, snapshot) {
  if (!decoded.has(snapshot)) decoded.set(snapshot, weightsOf(owner, snapshot));
  return decoded.get(snapshot);
}

// The change whose own network, trained with it from the beginning, takes the place of this one.
function variant() {
  const on = Object.keys(state.change).filter((name) => state.change[name]);
  return on.length === 1 && state.trained[on[0]] && DATA.variants?.[on[0]]
    ? { name: on[0], ...DATA.variants[on[0]] } : null;
}

// {net, weights, input(image), change} as the switches say.
function current() {
  const own = variant(), on = own ? {} : state.change;
  const shuffled = state.change.shuffle;
  const owner = own ? own.net : net;
  return {
    net: owner,
    weights: weightsAt(owner, own ? own.snapshot : net.snapshots[state.moment]),
    input: (image) => shuffled ? shuffle(image) : image,
    change: on,
  };
}

const ORDER = DATA.order ? new Uint16Array(bytesOf(DATA.order).buffer) : null;

function shuffle(image) {
  if (!ORDER) return image;
  const out = new Float32Array(image.length);
  for (let i = 0; i < ORDER.length; i++) {
    for (let c = 0; c < C; c++) out[i * C + c] = image[ORDER[i] * C + c];
  }
  return out;
}

function compute() {
  const now = current();
  state.outs = forward(now.net, now.weights, now.input(state.image), now.change);
  state.now = now;
  page.images.forEach((fn) => fn());
}

let asked = false;
function soon() { // once for each frame, however many strokes it has
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; compute(); });
}

// Names of layers: what they are, and which of their kind.

function kindOf(layer, index) {
  if (layer.op === "scale") return index === 1 && !layer.name ? "normalise" : /norm|bn/i.test(layer.name) ? "norm" : "scale";
  if (layer.op === "clip") return layer.low === 0 && (layer.high ?? null) === null ? "relu" : "act";
  return layer.op;
}

function layerName(owner, index) {
  const kinds = owner.layers.map(kindOf), own = kinds[index];
  const same = kinds.filter((kind) => kind === own).length;
  const before = kinds.slice(0, index + 1).filter((kind) => kind === own).length;
  const name = t(`l_${own}`), space = name.endsWith("）") ? "" : " "; // the bracket has its own
  return name + (same > 1 ? space + before : "");
}

const className = (k) => DATA.classes[k] ?? String(k);
