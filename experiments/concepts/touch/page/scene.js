// A scene of digits: a class for each position, and boxes around what hangs together.

// Ten colours, and the digit is written beside each: colour alone tells nothing.
const TEN = [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233], [150, 90, 60], [120, 94, 240], [190, 180, 20], [110, 110, 110]];
const scene = { digits: [], held: 0, classes: true, boxes: true, seed: 1, outs: null, image: null };
const LEAST = 6; // positions of a region that gets a box

function randomly(seed) { // Park and Miller's generator
  let s = seed % 2147483647 || 1;
  return () => (s = s * 48271 % 2147483647) / 2147483647;
}

function newScene() {
  const random = randomly(7919 * scene.seed++), side = DATA.scene.side, wanted = 2 + Math.floor(3 * random());
  scene.digits = [];
  for (let tries = 0; tries < 200 && scene.digits.length < wanted; tries++) {
    const index = Math.floor(random() * TESTS.n);
    const top = Math.floor(random() * (side - 15)), left = Math.floor(random() * (side - 15));
    if (scene.digits.some((d) => Math.max(Math.abs(d.top - top), Math.abs(d.left - left)) < 16)) continue;
    scene.digits.push({ index, top, left, ink: middle(TESTS.image(index)) });
  }
  scene.held = 0;
}

// The 16x16 cells of a digit in the middle of its canvas.
function middle(image) {
  const edge = (W - 16) / 2, out = new Float32Array(256);
  for (let i = 0; i < 16; i++) for (let j = 0; j < 16; j++) out[16 * i + j] = image[(i + edge) * W + j + edge];
  return out;
}

function boxOf(digit) { // around its ink: [top, bottom, left, right] in pixels of the scene
  const box = [99, -1, 99, -1], side = DATA.scene.side;
  digit.ink.forEach((v, n) => {
    const y = digit.top + (n >> 4), x = digit.left + (n & 15);
    if (v < 0.5 || y < 0 || x < 0 || y >= side || x >= side) return;
    box[0] = Math.min(box[0], y); box[1] = Math.max(box[1], y); box[2] = Math.min(box[2], x); box[3] = Math.max(box[3], x);
  });
  return box;
}

function overlap(a, b) {
  const high = Math.min(a[1], b[1]) - Math.max(a[0], b[0]) + 1, wide = Math.min(a[3], b[3]) - Math.max(a[2], b[2]) + 1;
  if (high <= 0 || wide <= 0) return 0;
  const area = (r) => (r[1] - r[0] + 1) * (r[3] - r[2] + 1);
  return high * wide / (area(a) + area(b) - high * wide);
}

function computeScene() {
  const side = DATA.scene.side, image = new Float32Array(side * side);
  for (const digit of scene.digits) digit.ink.forEach((v, n) => {
    const y = digit.top + (n >> 4), x = digit.left + (n & 15);
    if (y >= 0 && x >= 0 && y < side && x < side) image[y * side + x] = Math.max(image[y * side + x], v);
  });
  const owner = DATA.scene.net, outs = forward(owner, weightsAt(owner, DATA.scene.snapshot), image);
  const logits = outs[outs.length - 1], [h_, w_, k_] = owner.layers[owner.layers.length - 1].shape;
  scene.image = image;
  scene.map = Array.from({ length: h_ * w_ }, (_, i) => argmax(logits.subarray(i * k_, (i + 1) * k_)));
  scene.found = regionsOf(scene.map, logits, h_, w_, k_, LEAST).map((each) => {
    const [a, b, c, d] = each.box, box = [2 * a, 2 * b + 1, 2 * c, 2 * d + 1];
    const best = scene.digits.map((digit) => ({ digit, v: overlap(box, boxOf(digit)) })).sort((p, q) => q.v - p.v)[0];
    return { ...each, box, overlap: best?.v ?? 0, truth: best?.v ? TESTS.labels[best.digit.index] : null };
  });
}

function buildScene() {
  const text = document.querySelector("#scene p");
  $("scene").hidden = !DATA.scene;
  if (!DATA.scene) return;
  const side = DATA.scene.side, half = side / 2;
  const under = h("canvas", { "aria-hidden": "true" }), boxes = h("div", { "aria-hidden": "true" });
  const area = h("div", { class: "scene", tabindex: "0", role: "application", id: "scene-area" }, under, boxes);
  const tools = h("div", { class: "row tools" }), tell = h("p", { class: "status", role: "status", id: "scene-said" });
  const list = h("div", { id: "scene-list" }), legend = h("div", { class: "legend", role: "list" });
  $("scene-body").append(h("div", { class: "two" }, h("div", {}, area, tools), h("div", {}, list, tell, legend)));

  const draw = () => {
    computeScene();
    paint(under, side, side, (i) => {
      const y = Math.floor(i / side), x = i % side, rgb = shade(scene.image[i], colours.ink);
      const k = scene.classes ? scene.map[Math.floor(y / 2) * half + Math.floor(x / 2)] : 0;
      return k ? rgb.map((v, c) => 0.25 * v + 0.75 * TEN[k - 1][c]) : rgb;
    });
    boxes.replaceChildren(...(scene.boxes ? scene.found.map((each) => {
      const box = h("div", { class: "box" }, h("b", { text: String(each.digit) }));
      place(box, each.box, side, side);
      return box;
    }) : []), ...(document.activeElement === area && scene.digits[scene.held] ? [(() => {
      const box = h("div", { class: "box held" });
      place(box, boxOf(scene.digits[scene.held]), side, side);
      return box;
    })()] : []));
    list.replaceChildren(table(t("scene_caption"), ["b_digit", "b_share", "b_left", "b_top", "b_right", "b_bottom", "b_overlap"].map((key) => t(key)),
      scene.found.map((each) => [String(each.digit), percent(each.share, 0), each.box[2], each.box[0], each.box[3], each.box[1],
        each.truth === null ? t("b_none") : each.truth === each.digit ? percent(each.overlap, 0) : t("b_wrong", { v: percent(each.overlap, 0) })].map(String)),
      [0, 1, 2, 3, 4, 5, 6]), h("p", { class: "note", text: t("scene_overlap") }));
  };
  const sayHeld = () => {
    const digit = scene.digits[scene.held];
    tell.textContent = t("scene_said", { i: scene.held + 1, y: digit.top + 1, x: digit.left + 1, found: scene.found.map((each) => each.digit).join(t("joined").trim() === "+" ? ", " : "、") || t("b_none") });
  };
  const at = (event) => { const box = area.getBoundingClientRect(); return [(event.clientY - box.top) / box.height * side, (event.clientX - box.left) / box.width * side]; };
  let last = null;
  area.addEventListener("pointerdown", (event) => {
    const [y, x] = at(event), near = scene.digits.map((d, i) => ({ i, far: Math.hypot(d.top + 8 - y, d.left + 8 - x) })).sort((a, b) => a.far - b.far)[0];
    if (!near || near.far > 12) return;
    scene.held = near.i;
    last = [y, x];
    area.setPointerCapture(event.pointerId);
    event.preventDefault();
    area.focus({ preventScroll: true });
  });
  area.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = at(event), dy = Math.round(now[0] - last[0]), dx = Math.round(now[1] - last[1]);
    if (!dy && !dx) return;
    moveHeld(dy, dx);
    last = [last[0] + dy, last[1] + dx];
  });
  for (const name of ["pointerup", "pointercancel"]) area.addEventListener(name, () => { last = null; });
  const moveHeld = (dy, dx) => {
    const digit = scene.digits[scene.held], keep = (v) => Math.min(side - 10, Math.max(-6, v));
    digit.top = keep(digit.top + dy);
    digit.left = keep(digit.left + dx);
    draw();
    sayHeld();
  };
  area.addEventListener("keydown", (event) => {
    const way = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key], n = scene.digits.length;
    if (way) moveHeld(...way);
    else if (event.key === "PageDown" || event.key === "PageUp") { scene.held = (scene.held + (event.key === "PageDown" ? 1 : n - 1)) % n; draw(); sayHeld(); }
    else return;
    event.preventDefault();
  });
  area.addEventListener("focus", () => { draw(); if (area.matches(":focus-visible")) sayHeld(); });
  area.addEventListener("blur", draw);
  newScene();
  shown(() => {
    text.textContent = t("scene_text", { parameters: whole(DATA.scene.parameters), ink: percent(DATA.scene.ink), n: DATA.scene.tested });
    area.setAttribute("aria-label", t("scene_label", { n: scene.digits.length }));
    const toggle = (key, name) => h("button", { type: "button", text: t(key), "aria-pressed": String(scene[name]),
      onclick: (event) => { scene[name] = !scene[name]; event.currentTarget.setAttribute("aria-pressed", String(scene[name])); draw(); } });
    tools.replaceChildren(h("button", { type: "button", text: t("scene_new"), id: "scene-new", onclick: () => { newScene(); draw(); } }),
      toggle("scene_classes", "classes"), toggle("scene_boxes", "boxes"));
    legend.setAttribute("aria-label", t("scene_legend"));
    legend.replaceChildren(...TEN.map((rgb, k) => { const box = h("i"); box.style.background = css(rgb); return h("span", { role: "listitem" }, box, String(k)); }));
    tell.textContent = "";
    draw();
  });
}
