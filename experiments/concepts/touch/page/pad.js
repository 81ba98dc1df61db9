// The drawing area: an image of H x W cells, drawn with a pointer or by keys.

const pad = { tool: "pen", cursor: [H >> 1, W >> 1], down: false, last: null };

function ink(y, x, value) { // one cell, in all channels
  if (y < 0 || x < 0 || y >= H || x >= W) return;
  for (let c = 0; c < C; c++) {
    const at = (y * W + x) * C + c;
    state.image[at] = value > 0 ? Math.max(state.image[at], value) : 0;
  }
}

// A stroke from one point to the next, in cells, as a round pen with a soft edge draws it.
function stroke([y0, x0], [y1, x1]) {
  const radius = Math.max(0.9, W / 24 * 1.15), reach = Math.ceil(radius + 1);
  const steps = Math.max(1, Math.ceil(4 * Math.hypot(y1 - y0, x1 - x0)));
  for (let s = 0; s <= steps; s++) {
    const y = y0 + (y1 - y0) * s / steps, x = x0 + (x1 - x0) * s / steps;
    for (let i = Math.floor(y) - reach; i <= y + reach; i++) {
      for (let j = Math.floor(x) - reach; j <= x + reach; j++) {
        const far = Math.hypot(i + 0.5 - y, j + 0.5 - x);
        const value = Math.min(1, Math.max(0, radius + 0.5 - far));
        if (pad.tool === "rub") { if (far < radius + 0.8) ink(i, j, 0); } else if (value > 0) ink(i, j, value);
      }
    }
  }
}

function moveImage(dy, dx) {
  const old = state.image, moved = new Float32Array(old.length);
  for (let y = 0; y < H; y++) for (let x = 0; x < W; x++) {
    const i = y - dy, j = x - dx;
    if (i < 0 || j < 0 || i >= H || j >= W) continue;
    for (let c = 0; c < C; c++) moved[(y * W + x) * C + c] = old[(i * W + j) * C + c];
  }
  state.image = moved;
}

function setImage(image, label = null) {
  state.image = Float32Array.from(image);
  state.label = label;
  soon();
}

// Examples: enlarged digits, or the images of a run.
function readTests(tests) {
  const size = H * W * C, labels = bytesOf(tests.labels);
  const made = { n: tests.n, labels: tests.small ? labels : new Uint16Array(labels.buffer) };
  if (tests.small) {
    const small = bytesOf(tests.small);
    made.image = (i) => onCanvas(small.subarray(64 * i, 64 * i + 64), tests.enlarging, W, tests.level, tests.gain);
  } else if (tests.images) {
    const bytes = bytesOf(tests.images);
    made.image = (i) => Float32Array.from(bytes.subarray(i * size, (i + 1) * size), (v) => v / 255);
  } else {
    const values = numbersOf(tests.values, "f4");
    made.image = (i) => values.slice(i * size, (i + 1) * size);
  }
  return made;
}
const TESTS = DATA.tests ? readTests(DATA.tests) : null;
let example = -1;

function nextExample() {
  example = (example + 1) % TESTS.n;
  setImage(TESTS.image(example), TESTS.labels[example]);
}

// Something to begin with, where there is no example.
function drawRing() {
  const at = (turn) => [H * (0.5 + 0.3 * Math.sin(turn)), W * (0.5 + 0.3 * Math.cos(turn))];
  for (let i = 0; i < 24; i++) stroke(at(i * Math.PI / 12), at((i + 1) * Math.PI / 12));
}

const fields = []; // frames of the receptive field, one on each drawing area

// A drawing area; the page has one at its head, and a small one that stays beside the maps.
function makePad(live) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const field = h("i", { class: "mark field", hidden: true }), hand = h("i", { class: "mark hand", hidden: true });
  const area = h("div", { class: "pad", tabindex: "0", role: "application" }, canvas, field, hand);
  area.style.aspectRatio = `${W} / ${H}`;
  fields.push(field);

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientY - box.top) / box.height * H, (event.clientX - box.left) / box.width * W];
  };
  area.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    area.setPointerCapture(event.pointerId);
    pad.last = at(event);
    if (pad.tool !== "move") { state.label = null; stroke(pad.last, pad.last); soon(); }
    event.preventDefault();
    area.focus({ preventScroll: true });
  });
  area.addEventListener("pointermove", (event) => {
    if (!pad.last) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) {
      const now = at(each);
      if (pad.tool === "move") {
        const dy = Math.round(now[0] - pad.last[0]), dx = Math.round(now[1] - pad.last[1]);
        if (dy || dx) { moveImage(dy, dx); pad.last = [pad.last[0] + dy, pad.last[1] + dx]; }
      } else {
        stroke(pad.last, now);
        pad.last = now;
      }
    }
    soon();
  });
  for (const name of ["pointerup", "pointercancel"]) area.addEventListener(name, () => { pad.last = null; });

  const drawHere = () => { state.label = null; stroke(pad.cursor.map((v) => v + 0.5), pad.cursor.map((v) => v + 0.5)); soon(); };
  const tell = () => {
    const [y, x] = pad.cursor;
    place(hand, [y, y, x, x], H, W);
    live.textContent = t("pad_said", { y: y + 1, x: x + 1, v: short(state.image[(y * W + x) * C]) });
  };
  area.addEventListener("keydown", (event) => {
    const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (way && event.shiftKey) { moveImage(...way); soon(); }
    else if (way) {
      const old = pad.cursor;
      pad.cursor = [Math.min(H - 1, Math.max(0, old[0] + way[0])), Math.min(W - 1, Math.max(0, old[1] + way[1]))];
      if (pad.down) drawHere();
    } else if (event.key === " " || event.key === "Enter") drawHere();
    else if (event.key.toLowerCase() === "d") { pad.down = !pad.down; if (pad.down) drawHere(); }
    else if (event.key === "Delete" || event.key === "Backspace") { setImage(new Float32Array(H * W * C)); }
    else return;
    event.preventDefault();
    compute();
    tell();
  });
  area.addEventListener("focus", () => { if (area.matches(":focus-visible")) tell(); });
  area.addEventListener("blur", () => { hand.hidden = true; pad.down = false; });

  const draw = () => paint(canvas, H, W, (i) => C === 3
    ? [0, 1, 2].map((c) => 255 * state.image[3 * i + c]) : shade(state.image[i * C], colours.ink));
  page.images.push(draw);
  page.listeners.push(() => { area.setAttribute("aria-label", t("pad_label", { w: W, h: H })); draw(); });
  return area;
}

const push = (key, sign, way) => h("button", {
  type: "button", "aria-label": t(key), title: t(key), text: sign, onclick: () => { moveImage(...way); soon(); },
});
const pushes = () => [push("left", "←", [0, -1]), push("right", "→", [0, 1]), push("up", "↑", [-1, 0]), push("down", "↓", [1, 0])];

function chooseTool(tool) {
  pad.tool = tool;
  for (const area of document.querySelectorAll(".pad")) area.classList.toggle("moving", tool === "move");
  for (const each of $("pad-tools").querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", String(each.dataset.tool === tool));
}

function buildPad() {
  const live = h("p", { class: "note status", "aria-live": "polite" });
  const numbers = h("div"), box = h("details", { class: "tiny" }, h("summary"), numbers);
  box.hidden = W > 28 || C > 1;
  $("pad").replaceChildren(makePad(live), live);
  $("pad-keys").after(box);
  const fill = () => {
    if (!box.open && !page.printing) return;
    numbers.replaceChildren(h("table", {}, h("tbody", {}, Array.from({ length: H }, (_, y) => h("tr", {}, Array.from({ length: W }, (_, x) =>
      h("td", { text: String(Math.round(10 * state.image[y * W + x])) })))))));
  };
  box.addEventListener("toggle", fill);
  page.images.push(fill);
  $("mini").prepend(makePad(live));
  shown(() => {
    $("pad-keys").textContent = t("pad_keys");
    box.firstChild.textContent = t("pad_numbers");
    const tools = ["pen", "rub", "move"].map((tool) => h("button", {
      type: "button", "aria-pressed": String(pad.tool === tool), text: t(tool), "data-tool": tool, onclick: () => chooseTool(tool),
    }));
    $("pad-tools").replaceChildren(...tools, ...pushes(),
      h("button", { type: "button", id: "clear", text: t("clear"), onclick: () => setImage(new Float32Array(H * W * C)) }),
      ...(TESTS ? [h("button", { type: "button", id: "example", text: t("example"), onclick: nextExample })] : []));
    $("mini-tools").replaceChildren(...pushes());
  });
}
